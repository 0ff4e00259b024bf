#!/usr/bin/env bash
# Makes what other teams run the suite from without a compiler, in OUT: an archive of the binaries, the packages for npm, and the sums of
# all; and the image notify-conformance:local where Docker is to be had. Pulls nothing.
# Usage: build.sh [OUT [BINARIES]]. Without a folder of BINARIES they are built, static, for this machine's Linux: this needs OpenSSL's
# static library, as in Debian's libssl-dev, or with OPENSSL_NO_VENDOR unset make and perl.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
out=${1:-${CARGO_TARGET_DIR:-$root/target}/packages}
binaries=${2:-}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
case $(uname -sm) in
  'Linux x86_64') platform=linux-x64 ;;
  'Linux aarch64') platform=linux-arm64 ;;
  'Darwin arm64') platform=darwin-arm64 ;;
  *) echo "build.sh: no name for the platform $(uname -sm)" >&2; exit 1 ;;
esac

if [[ -z "$binaries" ]]; then
  # With a target of its own, for what runs at build time cannot be static.
  triple=$(rustc --version --verbose | sed -n 's/^host: //p')
  [[ $(uname -s) != Linux ]] || export RUSTFLAGS="-C target-feature=+crt-static" OPENSSL_STATIC=1
  cargo build --locked --manifest-path "$root/Cargo.toml" --profile dist --target "$triple" --bin notify-conformance --bin notify-load
  binaries=${CARGO_TARGET_DIR:-$root/target}/$triple/dist
  if [[ $(uname -s) = Linux ]] && readelf --program-headers "$binaries/notify-conformance" | grep -q INTERP; then
    echo "build.sh: the binary is not static" >&2
    exit 1
  fi
fi

rm -rf "$out"
mkdir -p "$out"
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

name=notify-conformance-$version-$platform
mkdir "$context/$name"
cp "$binaries"/notify-{conformance,load} "$root/LICENSE" "$here/../SPEC.md" "$here/../IMPLEMENTING.md" "$context/$name"
tar --create --gzip --file "$out/$name.tar.gz" --directory "$context" "$name"

"$here/../npm/pack.js" "$version" "$out" "$platform=$binaries"

if command -v redis-server >/dev/null && timeout 20 docker info >/dev/null 2>&1; then
  rootfs=$context/rootfs
  # Debian's redis-server is a link to redis-check-rdb, which looks at the name that it is called by.
  install -D "$(readlink -f "$(command -v redis-server)")" "$rootfs/usr/bin/redis-server"
  install "$binaries"/notify-{conformance,load} "$rootfs/usr/bin"
  for binary in "$rootfs"/usr/bin/*; do
    # Of each line the first path: the libraries and the loader, where the binary looks for them.
    { ldd "$binary" 2>/dev/null || true; } | { grep -oE '/[^ ]+' || true; } | while read -r library; do
      install -D "$library" "$rootfs$library"
    done
  done
  [[ ! -e /etc/ssl/certs/ca-certificates.crt ]] || install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$rootfs/etc/ssl/certs/ca-certificates.crt"
  install -d -m 1777 "$context/tmp"
  cp "$here/Dockerfile" "$context"
  DOCKER_BUILDKIT=0 timeout 300 docker build --quiet --network none --tag notify-conformance:local "$context" >/dev/null
  docker save notify-conformance:local | gzip --fast >"$out/$name-image.tar.gz"
else
  echo "build.sh: no image, for want of redis-server or of a Docker daemon that answers" >&2
  [[ -z "${REQUIRED:-}" ]] || exit 1
fi
(cd "$out" && sha256sum -- * >SHA256SUMS)
cat "$out/SHA256SUMS"
