#!/usr/bin/env bash
# Names exactly what is missing on this machine, and how to get it. Installs nothing itself.
set -euo pipefail
missing=0
need() { # command, what it is for, how to get it
  command -v "$1" >/dev/null || { echo "missing: $1 ($2): $3" >&2; missing=1; }
}
need cargo "compiles Sluice" "install Rust 1.95 with rustup"
need cc "links, and compiles the allocator" "apt-get install build-essential"
need make "compiles the allocator" "apt-get install build-essential"
if [ -z "${SLUICE_KUBECONFIG:-}" ]; then
  need go "compiles the embedded cluster" "install Go 1.26 or newer"
  [ "$(uname -s)" = Linux ] || { echo "missing: Linux (the embedded cluster uses network namespaces); set SLUICE_KUBECONFIG to use a cluster of yours" >&2; missing=1; }
  [ "$(id -u)" = 0 ] || { echo "missing: root (the embedded cluster makes namespaces and cgroups); set SLUICE_KUBECONFIG to use a cluster of yours" >&2; missing=1; }
fi
exit "$missing"
