#!/usr/bin/env bash
# Tags every published module on one commit at one version. Without --go it only prints the tags. It never pushes.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -nE 's|.*/core (v[0-9][^ ]*)$|\1|p' adapters/chi/go.mod | head -n 1)
fail() { echo "release: $*" >&2; exit 1; }

[ -z "$(git status --porcelain)" ] || fail "the tree is not clean; commit or stash first"
grep -q "^## \[${version#v}\]" CHANGELOG.md || echo "release: note: CHANGELOG.md has no section for ${version#v} yet"
mapfile -t modules < <(scripts/modules.sh)
for dir in "${modules[@]}"; do
	grep -E 'traffik-go/traffik/[a-z/]+ v' "$dir/go.mod" | grep -v "$version" && fail "$dir requires another version than $version"
	tag="$dir/$version"
	git rev-parse -q --verify "refs/tags/$tag" >/dev/null && fail "the tag $tag exists"
	if [ "${1:-}" = --go ]; then git tag -a "$tag" -m "$tag"; fi
	echo "$tag"
done
[ "${1:-}" = --go ] || echo "release: a dry run; make release GO=1 creates these tags"
