package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/traffik-go/traffik/internal/integration/servers"
)

// TestPaths keeps the way of a request and of a message short enough to be read in one sitting.
func TestPaths(t *testing.T) {
	run := exec.CommandContext(t.Context(), "go", "run", "-cover", "-covermode=atomic", //nolint:gosec // an address of ours
		"-coverpkg=github.com/traffik-go/traffik/...", ".", servers.Redis(t).Addr)
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	functions, files := map[string]int{}, map[string]map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if field := strings.Fields(line); len(field) == 3 {
			if functions[field[0]]++; files[field[0]] == nil {
				files[field[0]] = map[string]bool{}
			}
			files[field[0]][field[1]] = true
		}
	}
	for name, most := range map[string]struct{ functions, files int }{"request": {88, 34}, "coder": {44, 21}, "gorilla": {44, 21}} {
		t.Logf("%s: %d functions in %d files", name, functions[name], len(files[name]))
		if functions[name] == 0 || functions[name] > most.functions || len(files[name]) > most.files {
			t.Errorf("%s: %d functions in %d files, want 1 to %d in %d", name, functions[name], len(files[name]), most.functions, most.files)
		}
	}
}
