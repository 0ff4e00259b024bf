#!/usr/bin/env bash
# Makes the image of the server from a binary, and pulls nothing.
# Usage: image.sh [BINARY [NAME:TAG]]; a binary of `cargo build --release --target x86_64-unknown-linux-musl` needs no library.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-$here/../../target/release/notify-server}
tag=${2:-notify-server:local}

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
install -D "$binary" "$context/rootfs/notify-server"
# Of each line the first path: the libraries and the loader, where the binary looks for them.
if libraries=$(ldd "$binary" 2>/dev/null); then
  grep -oE '/[^ ]+' <<<"$libraries" | while read -r library; do
    install -D "$library" "$context/rootfs$library"
  done
fi
# A folder without a file is not copied.
install -D /dev/null "$context/data/.keep"
cp "$here/Dockerfile" "$context"
DOCKER_BUILDKIT=0 timeout 120 docker build --quiet --network none --tag "$tag" "$context" >/dev/null
echo "$tag: $(timeout 60 docker run --rm --network none --read-only --cap-drop ALL "$tag" --version)"
