#!/usr/bin/env bash
# Runs everyday go commands, in the root and in each module, and fails if one of them changes the checkout. Changes that
# were there before don't matter.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

state() { git -C "$root" status --porcelain; git -C "$root" diff | git hash-object --stdin; }
before=$(state)

# leaves COMMAND... runs a command and fails if the checkout changed. Other checks test that the command succeeds.
leaves() {
	"$@" >/dev/null 2>&1 || true
	[ "$(state)" = "$before" ] && return
	echo "clean: in $PWD, \"$*\" changed the checkout:" >&2
	git -C "$root" status --short >&2
	exit 1
}

leaves go mod download
leaves go list -m all
modules=$(go list -m -f '{{.Dir}}')
for dir in $modules; do
	cd "$dir"
	leaves go doc .
	leaves go list -deps -test ./...
	leaves go list -m all
	leaves go mod graph
	leaves go build ./...
	leaves go test -run '^$' .
done
echo "clean: the checkout is as it was"
