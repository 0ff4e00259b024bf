#!/usr/bin/env bash
# Runs schemathesis against the control surface by its own description. Without schemathesis it says so, and fails with REQUIRED=1.
# Usage: api.sh PATH-OF-notify-server; SCHEMATHESIS may name the program.
set -euo pipefail
server=$(realpath "${1:?usage: api.sh PATH-OF-notify-server}")
schemathesis=${SCHEMATHESIS:-schemathesis}
if ! command -v "$schemathesis" >/dev/null; then
  echo "NOT CHECKED: the control surface by schemathesis; pip install schemathesis, or name it by SCHEMATHESIS" >&2
  [ -z "${REQUIRED:-}" ] || exit 1
  exit 0
fi
config=$(realpath "$(dirname "$0")")/schemathesis.toml
work=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
env -i PORT="$port" DATA_DIR="$work" STORE=embedded JWT_SECRET=0123456789abcdef0123456789abcdef INGEST_TOKEN=check "$server" 2>"$work/log" &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 200); do
  curl --silent --fail --output /dev/null "http://127.0.0.1:$port/readyz" && break
  sleep 0.05
done
cd "$work"
"$schemathesis" --config-file "$config" run "http://127.0.0.1:$port/openapi.json" --header "Authorization: Bearer check" --checks all --max-examples 50 \
  --seed 1 --no-color
