#!/usr/bin/env bash
# Runs everything that there is to run, and writes down what ran, on which commit and machine, for how long, and what it
# said. A part that fails does not keep the next from running.
# Usage: e2e/test-full.sh REPORT TARGET...
set -euo pipefail
report="$1"
shift
logs="${SLUICE_CACHE:-$HOME/.cache/sluice}/test-full"
mkdir -p "$logs" "$(dirname "$report")"
if [ -n "$(git status --porcelain)" ]; then
  echo "the report names a commit: commit or stash what is changed first" >&2
  exit 1
fi

# The lines that say a result; of the figures, the tables.
says='^test result|^test .* FAILED|^ +(held|BROKEN)|away for|back after|of a core|renewals of the Lease|^[0-9]+ (PASS|FAIL|SKIP)|^failed: |^conformance: |deaths|taken over|^\|'
failed=0
body="$logs/body.md"
: >"$body"
for target in "$@"; do
  printf '\n== %s\n' "make $target"
  began=$(date +%s)
  result=passed
  make "$target" 2>&1 | tee "$logs/$target.log" || { result=FAILED; failed=1; }
  minutes=$(awk "BEGIN {printf \"%.1f\", ($(date +%s) - $began) / 60}")
  {
    printf '\n## make %s: %s, %s min\n\n' "$target" "$result" "$minutes"
    if grep -qE '^\|' "$logs/$target.log"; then
      grep -E '^\|' "$logs/$target.log"
    else
      printf '```\n%s\n```\n' "$(grep -E "$says" "$logs/$target.log" || echo 'nothing was said')"
    fi
  } >>"$body"
done

{
  echo "# Report of \`make test-full\`"
  echo
  echo "Commit $(git rev-parse HEAD), $(date -u +%Y-%m-%d), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f", $2 / 1048576}' /proc/meminfo) GiB, Linux $(uname -r)," \
    "$(rustc --version | cut -d' ' -f1,2), $(go version | cut -d' ' -f3). Written by \`e2e/test-full.sh\`."
  cat "$body"
} >"$report"
printf '\n== %s\n' "$report"
exit "$failed"
