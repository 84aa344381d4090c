#!/usr/bin/env bash
# Builds images of our programs without Docker and loads them into the embedded cluster. Pods that run another build under
# the same tag are replaced: what is tested or measured next is what was just built.
# Usage: e2e/images.sh TAG FOLDER PROGRAM...
set -euo pipefail
cluster="${SLUICE_CACHE:-$HOME/.cache/sluice}/bin/sluice-cluster"
tag="$1" folder="$2"
shift 2

loaded=()
ensure() { # image, program
  local said
  said="$("$cluster" image ensure --tag "$1" --bin "$2")"
  echo "$said"
  case "$said" in loaded*) loaded+=("$1") ;; esac
}
for program in "$@"; do ensure "$program:$tag" "$folder/$program"; done
# The cluster's own program is a metrics-server too.
ensure metrics-server:dev "$cluster"

[ "${#loaded[@]}" -gt 0 ] || exit 0
columns='{range .items[*]}{.metadata.namespace} {.metadata.name} {.spec.containers[*].image}{"\n"}{end}'
"$cluster" kubectl get pods --all-namespaces -o "jsonpath=$columns" | while read -r namespace pod images; do
  for image in "${loaded[@]}"; do
    case " $images " in *" $image "*) "$cluster" kubectl delete pod -n "$namespace" "$pod" ;; esac
  done
done
