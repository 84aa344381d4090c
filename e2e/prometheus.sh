#!/bin/sh
# Puts the programs of Debian's package prometheus into a folder, for the tests that run a Prometheus of their own.
# The package is unpacked, not installed: nothing is started, no user is made, and root is not needed.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUTDIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)

[ -x "$out/prometheus" ] && [ -x "$out/promtool" ] && exit 0
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    ln -sfn "$(command -v prometheus)" "$out/prometheus"
    ln -sfn "$(command -v promtool)" "$out/promtool"
    exit 0
fi
command -v apt-get >/dev/null || { echo "missing: prometheus and promtool; install Prometheus 2.42 or newer" >&2; exit 1; }

# apt downloads as a user of its own where it can.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
[ "$(id -u)" -ne 0 ] || chown _apt "$work" 2>/dev/null || true
cd "$work"
echo "downloading prometheus"
if ! apt-get download -qq prometheus >/dev/null; then
    [ "$(id -u)" -eq 0 ] || { echo "the package prometheus cannot be downloaded; run apt-get update as root" >&2; exit 1; }
    apt-get update -qq
    apt-get download -qq prometheus >/dev/null
fi
dpkg-deb -x prometheus_*.deb unpacked
for program in promtool prometheus; do
    # By renaming, so that an interrupted run leaves no half of a program.
    cp "unpacked/usr/bin/$program" "$out/.$program.new"
    mv "$out/.$program.new" "$out/$program"
done
