#!/usr/bin/env bash
# Uses each thing that build.sh has made as its reader would, from empty folders, on a running reference server.
# Usage: check.sh OUT PATH-OF-notify-server. What cannot be tried is told, and fails with REQUIRED=1.
set -euo pipefail

out=$(realpath "${1:?usage: check.sh OUT PATH-OF-notify-server}")
server=$(realpath "${2:?usage: check.sh OUT PATH-OF-notify-server}")
here=$(realpath "$(dirname "$0")")
work=$(mktemp -d)
pid=
# shellcheck disable=SC2329 # called by the trap
clean_up() {
  [[ -z "$pid" ]] || { kill "$pid" && wait "$pid"; } 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export JWT_SECRET=0123456789abcdef0123456789abcdef INGEST_TOKEN=the-credential-of-those-who-emit
env -i PORT="$port" DATA_DIR="$work/data" STORE=embedded JWT_SECRET="$JWT_SECRET" INGEST_TOKEN="$INGEST_TOKEN" "$server" 2>"$work/log" &
pid=$!
for _ in $(seq 200); do
  curl --silent --fail --output /dev/null "http://127.0.0.1:$port/readyz" && break
  sleep 0.05
done

# A file as a team would write it, in an empty folder of each reader.
reader() {
  mkdir "$work/$1"
  cd "$work/$1"
  "$work/unpacked/notify-conformance" init --output notify.toml >/dev/null
  # The lines marked EDIT: where it runs, and its sessions, whose tables stand there as comments.
  sed -i -e "s|^url = .*|url = \"http://127.0.0.1:$port\"|" -e 's/^capabilities = .*/capabilities = ["polling", "sessions", "event-id"]/' \
    -e '/^# \[sessions/,/^$/s/^# //' notify.toml
}

few=(--only 'AUTH-01/*' --only 'QUEUE-03/exactly-50' --only 'EVENT-02/*')
report() { printf '%-8s %s\n' "$1" "$(grep --max-count 1 'MUST .* CONFORMANT$' "$work/$1/printed")"; }

(cd "$out" && sha256sum --check --quiet SHA256SUMS)
mkdir "$work/unpacked"
tar --extract --gzip --file "$out"/notify-conformance-*-linux-*[0-9x].tar.gz --strip-components 1 --directory "$work/unpacked"

reader archive
"$work/unpacked/notify-load" --version
"$work/unpacked/notify-conformance" run --target notify.toml "${few[@]}" >printed
report archive

reader npm
npm init --yes >/dev/null
npm install --offline --no-audit --no-fund --silent "$out"/*.tgz
npx --no-install notify-conformance run --target notify.toml "${few[@]}" >printed
npx --no-install notify-load --version
report npm
code=0
npx --no-install notify-conformance run --target nowhere.toml 2>/dev/null || code=$?
[[ "$code" = 3 ]] || { echo "check.sh: a missing target file ends with $code by npx" >&2; exit 1; }
rm -r node_modules/notify-conformance-linux-*
code=0
npx --no-install notify-conformance list >told 2>&1 || code=$?
grep -q 'is not installed' told && [[ "$code" = 3 ]] || { echo "check.sh: without its binary npx says, with $code:" >&2; cat told >&2; exit 1; }

reader action
mkdir runner
touch summary outputs
env RUNNER_TEMP="$PWD/runner" GITHUB_OUTPUT="$PWD/outputs" GITHUB_STEP_SUMMARY="$PWD/summary" npm_config_offline=true \
  TARGET=notify.toml PROFILE=core BASELINE= REPORTS=reports ARGS="${few[*]}" PACKAGE="$(echo "$out"/*.tgz)" \
  "$here/../action/run.sh" >printed
ls reports/report.json reports/report.xml reports/report.html reports/badge.svg >/dev/null
grep -qx 'exit-code=0' outputs
[[ -s summary ]]
report action

if timeout 20 docker image inspect notify-conformance:local >/dev/null 2>&1; then
  reader image
  docker run --rm --network host --read-only --tmpfs /tmp --cap-drop ALL --volume "$PWD:/work:ro" \
    --env JWT_SECRET --env INGEST_TOKEN notify-conformance:local run --target notify.toml "${few[@]}" >printed
  report image
  docker run --rm --network none --entrypoint redis-server notify-conformance:local --version
else
  echo "NOT CHECKED: the image, for want of Docker" >&2
  [[ -z "${REQUIRED:-}" ]] || exit 1
fi
