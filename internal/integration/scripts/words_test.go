package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Replaced words are reported with file, line and the word to use instead; words that only look alike are not.
func TestWords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script, err := filepath.Abs(filepath.Join(root, "scripts", "words.go"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"fine.go":    "package a\n\n// A healthy plane accompanies undocumented shapes, in turns.\nvar plane, roundTrip, Togetherness int\n",
		"bad.go":     "package a\n\nvar gateGift, HTTPLane int // the server keeps the score\n",
		"bad.lua":    "local x = 1 -- a lane\nlocal own_script = 2\n",
		"bad.md":     "Fine.\n\nA client that knocks.\n",
		"passage.go": "package a\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"git", "init", "-q"}, {"git", "add", "."}, {"go", "run", script}} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...) //nolint:gosec // the commands stand above
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if args[0] == "git" {
			if err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
			continue
		}
		want := `bad.go:3: "keeps the score": say store counters, or count
bad.go:3:5: "Gift": say refund
bad.go:3:15: "Lane": say queue (Redis) or direction (WebSocket)
bad.lua:2: "own script": say custom
bad.md:3: "knocks": say a denied client that retries
passage.go: "passage": say pending message
words: 6 of the words that this project has replaced
`
		if got, _, _ := strings.Cut(string(out), "exit status"); err == nil || got != want {
			t.Errorf("%v, and it says:\n%s\nwant:\n%s", err, out, want)
		}
	}
}
