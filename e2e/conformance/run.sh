#!/usr/bin/env bash
# Runs the Gateway API conformance suite against the installed proxy, in the cluster's network. More arguments go to the
# suite; with -run-test=NAME it runs one test, whatever the features of the GatewayClass say.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
root="$here/../.."
cache="${SLUICE_CACHE:-$HOME/.cache/sluice}"
bin="$cache/bin"
report="${CONFORMANCE_REPORT:-$cache/conformance/report.yaml}"
mkdir -p "$(dirname "$report")"
rm -f "$report"

"$here/build.sh" "$bin"
if [ -z "${SLUICE_KUBECONFIG:-}" ]; then
    # One server under the tags of all manifests: go.mod says why.
    for tag in v0.1.0 v0.2.0; do
        "$bin/sluice-cluster" image ensure --entrypoint /bin/echo-basic --bin "$bin/echo-basic" \
            --tag "registry.k8s.io/gateway-api/conformance/echo-basic:$tag"
    done
fi

# The addresses that Gateways may ask for are for whoever installs the proxy to name. Of the embedded cluster's Service
# addresses the API server gives the first 256 away only to who asks for them.
pool="${CONFORMANCE_ADDRESS_POOL:-10.96.0.192/27}"
usable="${CONFORMANCE_USABLE_ADDRESS:-10.96.0.200}"
unusable="${CONFORMANCE_UNUSABLE_ADDRESS:-192.0.2.1}"

in_cluster() { "$root/e2e/with-cluster" "$@"; }
install() {
    in_cluster kubectl apply --server-side --force-conflicts -f - >/dev/null
}
trap 'install < "$root/install/install.yaml"' EXIT
sed "s|^\( *\)- --admin=0.0.0.0:9091$|&\n\1- --address-pool=$pool|" "$root/install/install.yaml" | install
for deployment in sluice-proxy-controller sluice-proxy; do
    in_cluster kubectl -n sluice-system rollout status "deployment/$deployment" --timeout=2m
done

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -1)
# Most tests wait more than they compute, so more run at a time than there are cores.
began=$(date +%s)
status=0
in_cluster "$bin/conformance" -test.v -test.timeout=40m -test.parallel=4 \
    -gateway-class=sluice -usable-address="$usable" -unusable-address="$unusable" \
    -conformance-profiles=GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP,GATEWAY-UDP -report-output="$report" \
    -organization=sluice -project=sluice -url=https://sluice.dev \
    -version="v$version" -contact=https://sluice.dev "$@" >"$report.log" 2>&1 || status=$?
echo "conformance: $(($(date +%s) - began)) s; log: $report.log"
# Tests of the suite stand one level deep; what is below belongs to one of them.
sed -n 's|^    --- \([A-Z]*\): TestConformance/\([^ /]*\) .*|\1 \2|p' "$report.log" |
    awk '$1 == "FAIL" {print "failed: " $2} {count[$1]++} END {for (result in count) print count[result], result}'
[ -f "$report" ] && echo "report: $report"
exit $status
