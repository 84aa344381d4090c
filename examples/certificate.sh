#!/bin/sh
# Prints a Secret with a new self-signed certificate for the given host names, and a ConfigMap of the same name with what
# clients have to trust (ca.crt). It is for trying things out: others come from an authority, by cert-manager for instance.
# Usage: examples/certificate.sh NAMESPACE NAME HOST... | kubectl apply -f -
set -eu
[ $# -ge 3 ] || { sed -n 's/^# Usage/usage/p' "$0" >&2; exit 2; }
namespace=$1 name=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

names=$(printf 'DNS:%s,' "$@")
cat > "$folder/config" <<END
[req]
distinguished_name = subject
x509_extensions = leaf
[subject]
[leaf]
basicConstraints = critical, CA:FALSE
subjectAltName = ${names%,}
END
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=$1" \
    -config "$folder/config" -keyout "$folder/tls.key" -out "$folder/tls.crt" 2> "$folder/said" ||
    { cat "$folder/said" >&2; exit 1; }

cat <<END
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata:
  name: $name
  namespace: $namespace
stringData:
  tls.crt: |
$(sed 's/^/    /' "$folder/tls.crt")
  tls.key: |
$(sed 's/^/    /' "$folder/tls.key")
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: $name
  namespace: $namespace
data:
  ca.crt: |
$(sed 's/^/    /' "$folder/tls.crt")
END
