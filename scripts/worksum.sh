#!/usr/bin/env bash
# Writes go.work.sum again. It holds the checksums that go commands need beyond those in the modules' go.sum files. A go command
# adds only the checksums that it needs itself, so this runs all the commands that need any.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -f go.work.sum
go mod download
go list -m all >/dev/null
go mod graph >/dev/null
