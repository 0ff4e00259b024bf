#!/usr/bin/env bash
# Holds what is in this folder against the programs that read it: alert rules and their tests, a scrape of a running server, each query of
# the dashboard on a real Prometheus, compose.yaml, nginx.conf, haproxy.cfg. What a program is missing for is told, and left out; with
# REQUIRED=1, as in CI, that is a failure.
# Usage: check.sh PATH-OF-notify-server
set -euo pipefail
server=$(realpath "${1:?usage: check.sh PATH-OF-notify-server}")
cd "$(dirname "$0")"
work=$(mktemp -d)
pids=()
missing=()
# shellcheck disable=SC2329 # called by the trap
clean_up() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

have() {
  command -v "$1" >/dev/null && return
  missing+=("$2, without $1")
  return 1
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# until URL: waits for an answer of 2xx.
until_answers() {
  for _ in $(seq 200); do
    curl --silent --fail --output /dev/null "$1" && return
    sleep 0.05
  done
  echo "check.sh: no answer from $1" >&2
  return 1
}

main=$(free_port) metrics=$(free_port)
env -i PORT="$main" METRICS_PORT="$metrics" DATA_DIR="$work/data" STORE=embedded JWT_SECRET=0123456789abcdef0123456789abcdef \
  INGEST_TOKEN=check "$server" 2>"$work/server.log" &
pids+=($!)
until_answers "http://127.0.0.1:$metrics/metrics"
curl --silent --fail --output /dev/null -X POST "http://127.0.0.1:$main/events" -H 'Authorization: Bearer check' \
  -H 'Content-Type: application/json' -d '{"eventType":"record.accessed","actorId":"a","resourceId":"r"}'
curl --silent --fail "http://127.0.0.1:$metrics/metrics" >"$work/scrape.txt"

if have promtool "alert rules and the scrape"; then
  promtool check rules prometheus/alerts.yml
  promtool check config prometheus/prometheus.yml
  promtool test rules prometheus/alerts.test.yml
  promtool check metrics <"$work/scrape.txt"
  echo "the scrape is in order: $(grep -c '^# TYPE' "$work/scrape.txt") metrics"
fi

if have prometheus "the dashboard's queries"; then
  prometheus=$(free_port)
  sed -e "s/15s/1s/" -e "s/\"notify-1:9464\", \"notify-2:9464\"/\"127.0.0.1:$metrics\"/" prometheus/prometheus.yml >"$work/prometheus.yml"
  cp prometheus/alerts.yml "$work"
  prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address="127.0.0.1:$prometheus" \
    2>"$work/prometheus.log" &
  pids+=($!)
  until_answers "http://127.0.0.1:$prometheus/-/ready"
  python3 - "http://127.0.0.1:$prometheus" grafana/dashboard.json <<'PY'
import json, sys, time, urllib.parse, urllib.request

base, dashboard = sys.argv[1:]

def ask(path, **query):
    with urllib.request.urlopen(f"{base}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]

deadline = time.time() + 30
while len(ask("query", query="notify_store_ready").get("result", [])) == 0 and time.time() < deadline:
    time.sleep(0.2)
known = set(ask("label/__name__/values"))
panels = json.load(open(dashboard))["panels"]
queries = [target["expr"] for panel in panels for target in panel["targets"]]
for query in queries:
    ask("query", query=query)  # an error is an HTTP error
words = {word for query in queries for word in __import__("re").findall(r"\b(?:notify|process)_\w+", query)}
unknown = {word for word in words if word not in known}
if unknown:
    sys.exit(f"check.sh: the dashboard asks for what the server does not tell: {sorted(unknown)}")
rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
bad = [rule["name"] for rule in rules if rule["health"] == "err"]
if bad or not rules:
    sys.exit(f"check.sh: rules that Prometheus cannot evaluate: {bad}")
print(f"Prometheus answers the dashboard's {len(queries)} queries and evaluates {len(rules)} rules")
PY
fi

status=0
./balancers.py "$server" || status=$?
[ "$status" -ne 3 ] || missing+=("nginx.conf and haproxy.cfg")
[ "$status" -eq 0 ] || [ "$status" -eq 3 ] || exit 1

compose=()
if docker compose version >/dev/null 2>&1; then compose=(docker compose); elif command -v docker-compose >/dev/null; then compose=(docker-compose); fi
if [ ${#compose[@]} -gt 0 ]; then
  INGEST_TOKEN=x JWT_SECRET=x "${compose[@]}" --file compose.yaml --profile watch config --quiet
  echo "compose.yaml is in order"
else
  missing+=("compose.yaml, without docker compose or docker-compose")
fi

if have systemd-analyze "notify-server.service"; then
  sed "s#/usr/local/bin/notify-server#$server#" notify-server.service >"$work/notify-server.service"
  systemd-analyze verify "$work/notify-server.service"
  echo "notify-server.service is in order"
fi

if [ ${#missing[@]} -gt 0 ]; then
  printf 'NOT CHECKED: %s\n' "${missing[@]}" >&2
  [ -z "${REQUIRED:-}" ] || exit 1
fi
