#!/usr/bin/env bash
# Builds the demo and runs it until Ctrl-C, for make.
set -euo pipefail
cd "$(dirname "$0")/.."

go build -o bin/demo ./examples/demo

# Ctrl-C goes to the demo, to this script and to make. The demo exits with status 0. If make notices that its child has
# exited before it handles the signal, it waits for the child a second time and fails with "wait: No child processes". So
# this script stays until make has handled the signal, on systems that show pending signals (2 is the bit of SIGINT).
trap : INT
status=0
bin/demo || status=$?
while grep -qs '^S[a-z]*Pnd:.*[2367abef]$' "/proc/$PPID/status"; do sleep 0.01; done
exit "$status"
