#!/usr/bin/env bash
# Prints the directories of the modules that are published, one a line: all of the workspace but those that only serve
# the project itself. core comes first, as the others require it.
set -euo pipefail
cd "$(dirname "$0")/.."
go list -m -f '{{.Dir}}' | sed "s|^$PWD/||" | grep -vE '^(internal|examples|benchmarks)(/|$)' |
	awk '$0 == "core" { print; next } { rest = rest $0 "\n" } END { printf "%s", rest }'
