#!/usr/bin/env bash
# Installs what the tests need besides Go if it can do so without asking: as root on Debian. Elsewhere the tests themselves
# say what is missing and how to install it.
set -euo pipefail

[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0

# image VARIABLE DEFAULT succeeds if Docker already has the image that a test would use.
image() { command -v docker >/dev/null && docker image inspect "${!1:-$2}" >/dev/null 2>&1; }

packages=()
command -v chromium >/dev/null || packages+=(chromium)
command -v curl >/dev/null || packages+=(curl)
command -v redis-server >/dev/null || image TRAFFIK_TEST_REDIS_IMAGE redis:7-alpine || packages+=(redis-server redis-tools)
command -v memcached >/dev/null || image TRAFFIK_TEST_MEMCACHED_IMAGE memcached:1.6-alpine || packages+=(memcached)
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || packages+=(nginx-light)
command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] || packages+=(haproxy)
[ ${#packages[@]} -gt 0 ] || exit 0

# Debian starts a server as soon as it is installed, unless this file forbids it. An existing file is restored afterwards.
policy=/usr/sbin/policy-rc.d
kept=$(mktemp -d)
restore() {
	rm -f "$policy"
	if [ -e "$kept/policy" ]; then mv "$kept/policy" "$policy"; fi
	rm -rf "$kept"
}
trap restore EXIT
if [ -e "$policy" ]; then mv "$policy" "$kept/policy"; fi
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

echo "installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
