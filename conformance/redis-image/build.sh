#!/usr/bin/env bash
# Makes a Redis image from this machine's own redis-server, for machines that cannot pull one.
# Usage: build.sh [NAME:TAG]; the suite takes the image that NOTIFY_REDIS_IMAGE names.
set -euo pipefail

tag=${1:-notify-redis:local}

if ! installed=$(command -v redis-server); then
  echo "build.sh: no redis-server on PATH; install Debian's package redis-server" >&2
  exit 1
fi
# Debian's redis-server is a link to redis-check-rdb, which looks at the name it is called by.
binary=$(readlink -f "$installed")

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
install -D "$binary" "$root/usr/bin/redis-server"
# Of each line the first path: the libraries and the loader, where the binary looks for them.
ldd "$binary" | grep -oE '/[^ ]+' | while read -r library; do
  install -D "$library" "$root$library"
done
install -d -m 1777 "$root/data"

tar --create --directory "$root" . | timeout 60 docker import \
  --change 'ENV PATH=/usr/bin' \
  --change 'WORKDIR /data' \
  --change 'USER 65534:65534' \
  --change 'EXPOSE 6379' \
  --change 'CMD ["redis-server"]' \
  - "$tag" >/dev/null
echo "$tag: $(timeout 60 docker run --rm --network none "$tag" redis-server --version)"
