#!/usr/bin/env bash
# Runs a target of the Makefile and writes docs/reports/TARGET.md: on which commit and machine it ran, for how long, and
# what it said. Fails when the target does, after it has written that down.
# Usage: e2e/report.sh TARGET
set -euo pipefail
target="$1"
report="docs/reports/$target.md"
log="${SLUICE_CACHE:-$HOME/.cache/sluice}/reports/$target.log"
mkdir -p "$(dirname "$report")" "$(dirname "$log")"
# Reports of other targets may be new; anything else would make the commit a lie.
if [ -n "$(git status --porcelain -- ':!docs/reports')" ]; then
  echo "the report names a commit: commit or stash what is changed first" >&2
  exit 1
fi

# The lines that say a result, and the rows of tables.
says='^test result|^test .* FAILED|^  (held|BROKEN)|^[0-9]+ deaths|taken over|away for|back after|of a core|renewals of the Lease'
says+='|^[0-9]+ (PASS|FAIL|SKIP)$|^failed: |^conformance: |requests over|^\|'
commit=$(git rev-parse HEAD)
began=$(date +%s)
result=passed
make "$target" 2>&1 | tee "$log" || result=FAILED
minutes=$(awk "BEGIN {printf \"%.1f\", ($(date +%s) - $began) / 60}")
memory=$(awk '/MemTotal/ {printf "%.0f", $2 / 1048576}' /proc/meminfo)
lines=$(sed -E -e 's/^test .* \.\.\. (.*(away for|taken over))/\1/' -e 's/; log: .*//' "$log" | grep -E "$says" || echo 'nothing was said')
{
  echo "# \`make $target\`: $result"
  echo
  echo "$(date -u +%Y-%m-%d), commit $commit, $minutes minutes on $(nproc) cores, $memory GiB, Linux $(uname -r)," \
    "$(rustc --version | cut -d' ' -f1,2), $(go version | cut -d' ' -f3). Written by \`e2e/report.sh\`."
  echo
  if grep -q '^|' <<<"$lines"; then grep '^|' <<<"$lines"; else printf '```\n%s\n```\n' "$lines"; fi
} >"$report"
printf '\n== %s: %s\n' "$report" "$result"
[ "$result" = passed ]
