#!/usr/bin/env bash
# What the action does: installs the suite from npm, runs it, and keeps its reports. Its inputs come as variables, so that none of them is
# ever read as a command.
set -euo pipefail

bin=$RUNNER_TEMP/notify-conformance
read -ra packages <<<"$PACKAGE"
npm install --prefix "$bin" --no-save --no-audit --no-fund --silent -- "${packages[@]}"

mkdir -p "$REPORTS"
run=(run --target "$TARGET" --profile "$PROFILE" --report github)
for report in json=report.json junit=report.xml html=report.html badge=badge.svg; do
  run+=(--report "${report%%=*}=$REPORTS/${report#*=}")
done
[[ -z "$BASELINE" ]] || run+=(--baseline "$BASELINE")
read -ra further <<<"$ARGS"

code=0
"$bin/node_modules/.bin/notify-conformance" "${run[@]}" "${further[@]}" || code=$?
echo "exit-code=$code" >>"$GITHUB_OUTPUT"
exit "$code"
