# The tasks; CI calls only these. `just` alone lists them.

# A binary is chosen by --bin and not by --package: then features are those of the whole workspace, and what one command has
# compiled is there for the next. What is for release is chosen by --package, and has only what it needs.

set positional-arguments

_list:
    @just --list --unsorted

# Check the reference server on a real Redis: `just conformance --only QUEUE-03 --redis local`
conformance *args:
    cargo run --quiet --bin notify-conformance -- run --target fixtures/targets/reference.toml "$@"

# Check the reference server on its embedded store
conformance-embedded *args:
    cargo run --quiet --bin notify-conformance -- run --target fixtures/targets/reference-embedded.toml "$@"

# Check the second implementation, in JavaScript on the official socket.io
conformance-node *args:
    cargo run --quiet --bin notify-conformance -- run --target fixtures/targets/node.toml "$@"

# Check the module for NestJS
conformance-nest *args:
    cargo run --quiet --bin notify-conformance -- run --target fixtures/targets/nest.toml "$@"

# Check the server on python-socketio
conformance-python *args:
    cargo run --quiet --bin notify-conformance -- run --target fixtures/targets/python.toml "$@"

# Run the tests
test *args:
    cargo test --workspace "$@"

# Inputs and courses of events by chance, for a minute: what clients, emitters and nodes say, and what happens to a queue
by-chance seconds="10" cases="300":
    BOLERO_RANDOM_TEST_TIME_MS={{seconds}}000 PROPTEST_CASES={{cases}} cargo test --workspace --lib --test store -- by_chance

# Start the reference server with nothing else installed
serve *args:
    cargo run --bin notify-server -- --dev "$@"

# Prove that the cases can fail: the suite against broken versions of the reference
selftest *args:
    cargo run --quiet --bin notify-conformance -- selftest "$@"

# The suite against broken versions of the Node peer, which the named cases must catch, and unusual right ones, which they must let pass
selftest-node *args:
    cargo run --quiet --bin notify-conformance -- selftest --target fixtures/targets/node-broken.toml --named "$@"

# The suite against mutants of the Node peer that nobody chose, for 20 minutes, in an order by chance: what survives is read, and what breaks the contract gets a case
mutate *args:
    cargo run --quiet --bin notify-conformance -- selftest --target fixtures/targets/node-mutated.toml --any-within 20m --at-once 4 "$@"

# Let devices come and go while events are emitted and things fail, and check that nothing was lost
churn *args:
    cargo run --quiet --bin notify-conformance -- churn --target fixtures/targets/reference.toml "$@"

# Measure what every event and every connection costs: `just bench "queue"`
bench *args:
    cargo bench --package notify-server --bench hot_paths -- "$@"

# Half a minute of load on the reference on its embedded store, optimised: `just load --rate 5000 --connections 5000`
load *args:
    cargo run --quiet --release --package notify-load -- unicast --duration 30s "$@"

# The reference, the Node peer, socket.io on uWebSockets.js and the floor under the same load, back to back, three rounds: medians and ratios (15 minutes; needs Node 20)
load-compare *args:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! command -v npm >/dev/null || [[ $(node --version 2>/dev/null) != v20.* ]]; then
        echo "load-compare sets the reference against two servers on Node: node and npm must be on the PATH, and uWebSockets.js takes Node 20 only" >&2
        exit 1
    fi
    cargo build --quiet --release --package notify-load
    out="${CARGO_TARGET_DIR:-target}/load-compare"
    rm -rf "$out"
    mkdir -p "$out"
    targets=loadtest/targets/reference.toml,fixtures/targets/node.toml,loadtest/targets/uws.toml,loadtest/targets/floor.toml
    failed=0
    compare() {
        "${CARGO_TARGET_DIR:-target}/release/notify-load" rounds "$2" --targets "$targets" --redis local --duration 10s \
            --json "$out/$1.json" --markdown "$out/$1.md" "${@:3}" || failed=1
    }
    compare 1-unicast unicast --connections 5000 "$@"
    compare 2-batch unicast --connections 5000 --batch 100 "$@"
    compare 3-fanout fanout --connections 1000 "$@"
    compare 4-handshake handshake "$@"
    cat "$out"/*.md > "$out.md"
    echo "The tables for loadtest/README.md are in $out.md"
    exit "$failed"

# A few seconds of load, unoptimised, to see that the harness works; nothing about speed
load-smoke:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --quiet --bin notify-load
    load() {
        "${CARGO_TARGET_DIR:-target}/debug/notify-load" "$2" --target "$1.toml" --connections 20 --duration 2s --warmup 200ms "${@:3}"
    }
    smoke() { load "$@" --assert missing==0; }
    embedded=fixtures/targets/reference-embedded
    smoke "$embedded" unicast --rate 200 --assert duplicated==0
    smoke "$embedded" unicast --rate 200 --batch 10 --assert duplicated==0
    smoke "$embedded" fanout --rate 20 --assert duplicated==0
    smoke "$embedded" ack --rate 100
    smoke "$embedded" mixed --rate 200
    smoke "$embedded" offline
    smoke "$embedded" storm
    smoke "$embedded" handshake
    smoke "$embedded" churn --rate 50
    smoke "$embedded" soak --rate 200
    smoke "$embedded" ramp --rate 4000 --bound 200ms
    load "$embedded" idle
    smoke "$embedded" slow --rate 100 --slow-rate 16kB --misbehaving 5 --assert refused==0
    smoke fixtures/targets/reference unicast --rate 200 --assert duplicated==0 --across --redis local
    if [[ $(node --version) == v20.* ]]; then
        smoke loadtest/targets/uws fanout --rate 20 --assert duplicated==0
    else
        echo "socket.io on uWebSockets.js is left out: it takes Node 20, and this is $(node --version)"
    fi

# Format, lints, documentation, dependencies
check: server-without-c
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
    cargo deny --locked check bans licenses sources

# The server's promise: no OpenSSL; and without its default features no C but libc
server-without-c:
    #!/usr/bin/env bash
    set -euo pipefail
    brought() { cargo tree --locked --package notify-server --edges normal,build --prefix none "${@:2}" | grep -E "^($1) "; }
    if brought 'cmake|native-tls|openssl-sys' || brought 'cc|cmake|ring|native-tls|openssl-sys' --no-default-features; then
        echo "notify-server depends on the crates above, which bring OpenSSL, or C without the default features" >&2
        exit 1
    fi

# Known vulnerabilities: apart from `check`, for it fetches its database from the network
advisories:
    cargo deny --locked check advisories

# Check a target with the official JavaScript client: `just interop fixtures/targets/node.toml`; without one the reference, which faces more
interop target="":
    #!/usr/bin/env bash
    set -euo pipefail
    if [[ -z "$1" ]]; then cargo build --quiet --example client; fi
    cd conformance/interop
    npm ci --no-progress
    if [[ -z "$1" ]]; then npm test; else TARGET="$1" npm run check; fi

# Try what is under server/deploy: alert rules, a scrape, the dashboard's queries, balancers, compose file, systemd unit
deploy:
    cargo build --quiet --bin notify-server
    server/deploy/check.sh "${CARGO_TARGET_DIR:-target}/debug/notify-server"

# Ask the control surface what nobody thought of: schemathesis against /openapi.json
api:
    cargo build --quiet --bin notify-server
    server/deploy/api.sh "${CARGO_TARGET_DIR:-target}/debug/notify-server"

# Make what the suite is run from without a compiler: static binaries in an archive, packages for npm, an image; and use each
dist:
    cargo build --quiet --bin notify-server
    conformance/dist/build.sh "${CARGO_TARGET_DIR:-target}/packages"
    conformance/dist/check.sh "${CARGO_TARGET_DIR:-target}/packages" "${CARGO_TARGET_DIR:-target}/debug/notify-server"

# The same with the binaries of every day, which are not static: packing and use, without another build of everything
dist-check:
    cargo build --quiet --bin notify-server --bin notify-conformance --bin notify-load
    conformance/dist/build.sh "${CARGO_TARGET_DIR:-target}/packages-debug" "${CARGO_TARGET_DIR:-target}/debug"
    conformance/dist/check.sh "${CARGO_TARGET_DIR:-target}/packages-debug" "${CARGO_TARGET_DIR:-target}/debug/notify-server"

# Make the image notify-redis:local from this machine's redis-server, where none can be pulled
redis-image:
    conformance/redis-image/build.sh notify-redis:local

# All that CI runs but the tests, which .ci/run has run before by the README's command
ci: check
    just conformance --redis container
    just conformance --profile strict,cluster,resilience --redis container --jobs 4
    just conformance --profile failover --redis local --jobs 4
    just conformance --profile cluster --redis cluster --jobs 4
    just conformance-embedded
    just conformance-node --profile core,strict
    just conformance-nest
    just interop
    just interop fixtures/targets/node.toml
    just interop fixtures/targets/nest.toml
    just deploy
    just api
    just dist-check
    just load-smoke
    just by-chance
    just selftest-node --redis local --at-once 6
    just selftest --named --redis local --at-once 4
    just churn
    just churn --seed 1 --nodes 2 --duration 30s
    just churn --seed 1 --mode plain --duration 20s
