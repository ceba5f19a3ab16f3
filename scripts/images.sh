#!/usr/bin/env bash
# Makes the images traffik-test/redis:local and traffik-test/memcached:local from the servers installed here. Each image holds
# one server with the libraries that it needs. The script downloads nothing.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# image NAME BINARY... makes an image with these binaries.
image() {
	local name=$1 root="$work/$1" binary path
	shift
	mkdir -p "$root/usr/bin" "$root/etc" "$root/tmp"
	chmod 1777 "$root/tmp"
	echo 'root:x:0:0:root:/tmp:/sbin/nologin' >"$root/etc/passwd"
	for binary in "$@"; do
		path=$(command -v "$binary") || { echo "images: $binary is not installed" >&2; exit 1; }
		cp -L "$path" "$root/usr/bin/$binary"
		# Lines of ldd are "name => path (address)" or "path (address)"; a static binary has none.
		{ ldd "$path" || true; } | { grep -oE '/[^ ]+' || true; } | sort -u | while read -r library; do
			mkdir -p "$root$(dirname "$library")"
			cp -L "$library" "$root$library"
		done
	done
	tar -C "$root" -c . | docker import --change 'ENV PATH=/usr/bin' - "traffik-test/$name:local" >/dev/null
	echo "made traffik-test/$name:local"
}

image redis redis-server
image memcached memcached
