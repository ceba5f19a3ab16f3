#!/usr/bin/env bash
# Writes go.work.sum anew: the sums that commands of go look for beyond those of the modules' own go.sum files. Commands add
# what is missing and drop, at that moment, what has become needless; this asks for all of it.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -f go.work.sum
go mod download
go list -m all >/dev/null
go mod graph >/dev/null
