#!/bin/sh
# Builds the conformance suite and the server that its pods run into a folder. Does nothing when neither changed.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUTDIR" >&2; exit 2; }
cd "$(dirname "$0")"
mkdir -p "$1"
out=$(cd "$1" && pwd)

stamp=$(sha256sum go.mod go.sum ./*.go build.sh | sha256sum | cut -d' ' -f1)
if [ -x "$out/conformance" ] && [ -x "$out/echo-basic" ] &&
    [ "$(cat "$out/.conformance.stamp" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi

# The go command gets the toolchain that go.mod asks for; the flags are those of e2e/cluster/build.sh, so that what both
# need is compiled once.
export GOTOOLCHAIN=auto CGO_ENABLED=0 GOFLAGS='-buildvcs=false -trimpath'
rm -f "$out/.conformance.stamp"
echo "building the conformance suite (about two minutes the first time on two cores)"
go test -c -o "$out/.conformance.new" .
go build -ldflags "-s -w" -o "$out/.echo-basic.new" sigs.k8s.io/gateway-api-conformance-images/echo-basic
# By renaming, so that an interrupted build leaves no half of a program.
mv "$out/.conformance.new" "$out/conformance"
mv "$out/.echo-basic.new" "$out/echo-basic"
echo "$stamp" > "$out/.conformance.stamp"
