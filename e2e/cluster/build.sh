#!/bin/sh
# Builds sluice-cluster and kubectl into a folder, and installs the few Debian
# packages that a node needs. Does nothing, in well under a second, when the
# sources have not changed.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUTDIR" >&2; exit 2; }
cd "$(dirname "$0")"
mkdir -p "$1"
out=$(cd "$1" && pwd)
generated=internal/assets/generated

# What a node needs of the distribution.
install_packages() {
    ../packages.sh containerd:containerd runc:runc iptables:iptables conntrack:conntrack ip:iproute2
    [ -x /opt/cni/bin/bridge ] || [ -x /usr/libexec/cni/bridge ] ||
        ../packages.sh /usr/lib/cni/bridge:containernetworking-plugins
}

# The stamp covers the sources and what they are built for and with.
fingerprint() {
    { find . -path "./$generated" -prune -o -type f \
        \( -name '*.go' ! -name '*_test.go' -o -path './internal/config/templates/*' \) -print |
        LC_ALL=C sort | xargs sha256sum
      sha256sum go.mod go.sum build.sh; uname -m; } | sha256sum | cut -d' ' -f1
}

# Runs a long command with a line of progress every 15 seconds.
with_progress() {
    what=$1; shift
    began=$(date +%s)
    "$@" &
    pid=$!
    trap 'kill $pid 2>/dev/null' INT TERM
    shown=0
    while kill -0 $pid 2>/dev/null; do
        sleep 1
        elapsed=$(($(date +%s) - began))
        if [ $((elapsed / 15)) -gt "$shown" ]; then
            shown=$((elapsed / 15))
            echo "  $what: $elapsed s"
        fi
    done
    wait $pid
    echo "$what: $(($(date +%s) - began)) s"
}

install_packages
stamp=$(fingerprint)
if [ -x "$out/sluice-cluster" ] && [ -L "$out/kubectl" ] &&
    [ "$(cat "$out/.sluice-cluster.stamp" 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi

# The go command gets the toolchain that go.mod asks for if it is older.
export GOTOOLCHAIN=auto CGO_ENABLED=0 GOFLAGS=-buildvcs=false
version=$(sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\)$|\1|p' go.mod)
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags="$flags -X $package.gitVersion=$version -X $package.gitTreeState=clean"
done
rm -f "$out/.sluice-cluster.stamp"
with_progress "modules" go mod download k8s.io/kubernetes sigs.k8s.io/gateway-api
mkdir -p "$generated/crds"
rm -f "$generated"/crds/*
cp "$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)"/config/crd/standard/*.yaml "$generated/crds/"
chmod 644 "$generated"/crds/*
with_progress "DNS server" go build -trimpath -ldflags "-s -w" -o "$generated/coredns" ./coredns
with_progress "Kubernetes $version (about ten minutes the first time on two cores)" \
    go build -trimpath -ldflags "$flags" -o "$out/.sluice-cluster.new" .
# By renaming: a running cluster keeps the file it was started from.
mv "$out/.sluice-cluster.new" "$out/sluice-cluster"
ln -sfn sluice-cluster "$out/kubectl"
echo "$stamp" > "$out/.sluice-cluster.stamp"
