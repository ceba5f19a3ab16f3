#!/usr/bin/env bash
# Builds the demo and runs it until Ctrl-C, for make.
set -euo pipefail
cd "$(dirname "$0")/.."

go build -o bin/demo ./examples/demo

# Ctrl-C goes to the demo, which ends well, to this script, and to make. If make reads that its child has ended before it
# takes the signal, it waits for the child once more and fails with "wait: No child processes". So this script stays
# until make has taken it, where the system tells (2 is the bit of SIGINT).
trap : INT
status=0
bin/demo || status=$?
while grep -qs '^S[a-z]*Pnd:.*[2367abef]$' "/proc/$PPID/status"; do sleep 0.01; done
exit "$status"
