#!/usr/bin/env bash
# Prints the directories of the published modules, one per line: all modules of the workspace except those that only serve
# this project. core comes first, because the others require it.
set -euo pipefail
cd "$(dirname "$0")/.."
go list -m -f '{{.Dir}}' | sed "s|^$PWD/||" | grep -vE '^(internal|examples|benchmarks)(/|$)' |
	awk '$0 == "core" { print; next } { rest = rest $0 "\n" } END { printf "%s", rest }'
