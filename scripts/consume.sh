#!/usr/bin/env bash
# Installs every published module as a user does: from outside the repository, in an empty module, by version. There, go
# ignores the `replace` lines of our go.mod files, so this proves that the `require` lines alone are right.
#
# A module proxy made of plain files serves the working tree as the next version. All other modules come from the usual
# proxy. See https://go.dev/ref/mod#goproxy-protocol for the layout.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=github.com/traffik-go/traffik
version=$(sed -nE "s|.*$prefix/core (v[0-9][^ ]*)\$|\1|p" adapters/chi/go.mod | head -n 1)
work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT

# publish DIR adds the module in DIR to the proxy.
publish() {
	local at="$work/proxy/$prefix/$1/@v"
	mkdir -p "$at"
	echo "$version" >"$at/list"
	printf '{"Version":"%s","Time":"2026-01-01T00:00:00Z"}\n' "$version" >"$at/$version.info"
	cp "$1/go.mod" "$at/$version.mod"
	GOWORK=off go run scripts/modzip.go "$1" "$prefix/$1@$version" "$at/$version.zip"
}

mapfile -t modules < <(scripts/modules.sh)
for dir in "${modules[@]}"; do publish "$dir"; done

cache=$(go env GOMODCACHE)
upstream=$(go env GOPROXY)
export GOWORK=off GOFLAGS=-mod=mod GOMODCACHE="$work/cache" GONOSUMDB="$prefix/*"
export GOPROXY="file://$work/proxy,file://$cache/cache/download,$upstream"
mkdir "$work/user" && cd "$work/user"
go mod init example.com/user 2>/dev/null

for dir in "${modules[@]}"; do
	echo "go get $prefix/$dir@$version"
	go get "$prefix/$dir@$version" >get.txt 2>&1 || { cat get.txt >&2; exit 1; }
done
{
	echo "package main"
	for dir in "${modules[@]}"; do
		for package in $(cd "$OLDPWD/$dir" && GOWORK=off go list -f '{{.ImportPath}}' ./... | grep -v /internal/); do
			echo "import _ \"$package\""
		done
	done
	echo "func main() {}"
} >main.go
go build -o "$work/user/user" .
go list -m all >all.txt
if grep -n '=>' all.txt; then
	echo "consume: a replace directive is in effect, but must not be" >&2
	exit 1
fi
for dir in "${modules[@]}"; do
	grep -qx "$prefix/$dir $version" all.txt || { echo "consume: $prefix/$dir is not at $version" >&2; exit 1; }
done
echo "consume: ${#modules[@]} modules built from $version, without a replace directive"
