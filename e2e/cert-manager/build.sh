#!/bin/sh
# Builds cert-manager's controller into a folder, and puts the definitions of its kinds beside it. Does nothing when neither
# changed.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUTDIR" >&2; exit 2; }
cd "$(dirname "$0")"
mkdir -p "$1"
out=$(cd "$1" && pwd)

stamp=$(sha256sum go.mod go.sum ./*.go build.sh | sha256sum | cut -d' ' -f1)
if [ -x "$out/cert-manager-controller" ] && [ -f "$out/cert-manager-crds.yaml" ] &&
    [ "$(cat "$out/.cert-manager.stamp" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi

export GOTOOLCHAIN=auto CGO_ENABLED=0 GOFLAGS='-buildvcs=false -trimpath'
rm -f "$out/.cert-manager.stamp"
echo "building cert-manager (some minutes the first time)"
go build -ldflags "-s -w" -o "$out/.cert-manager.new" .
module=$(go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)
for definition in "$module"/deploy/crds/*.yaml; do
    echo ---
    cat "$definition"
done > "$out/cert-manager-crds.yaml"
# By renaming, so that an interrupted build leaves no half of a program.
mv "$out/.cert-manager.new" "$out/cert-manager-controller"
echo "$stamp" > "$out/.cert-manager.stamp"
