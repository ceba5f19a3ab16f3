// Package readme compiles the Go code of README and docs as it stands there.
package readme

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

// block is one fenced Go program.
type block struct {
	file string
	line int
	code string
}

// TestGoBlocks builds every block marked go, verbatim, as a program of its own
// inside this module, which requires all that they import.
func TestGoBlocks(t *testing.T) {
	t.Parallel()
	blocks := find(t)
	for _, file := range []string{"README.md", "guide.md", "proxies.md"} {
		if !slices.ContainsFunc(blocks, func(b block) bool { return b.file == file }) {
			t.Errorf("no Go block was found in %s", file)
		}
	}
	dir, err := os.MkdirTemp(".", "blocks") //nolint:usetesting // it has to be inside this module
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for i, b := range blocks {
		if !strings.HasPrefix(b.code, "package main\n") {
			t.Errorf("%s:%d: the block is no whole program: it starts with %.40q", b.file, b.line, b.code)
			continue
		}
		at := filepath.Join(dir, fmt.Sprintf("b%d", i))
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, "main.go"), []byte(b.code), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "vet", "./"+dir+"/...").CombinedOutput() //nolint:gosec // the directory is ours
	if err != nil {
		for i, b := range blocks {
			out = bytes.ReplaceAll(out, fmt.Appendf(nil, "b%d/main.go", i), fmt.Appendf(nil, "%s (block at line %d)", b.file, b.line))
		}
		t.Errorf("%v\n%s", err, out)
	}
}

// The strategy and the store of one's own in the docs are, to the letter, those that core
// runs as examples and checks against the promises.
func TestCustomCodeIsTheTestedOne(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, c := range []struct{ doc, code, from, to string }{
		{"docs/strategies.md", "core/example_custom_strategy_test.go", "// Cooldown admits", "// A strategy of one's own"},
		{"docs/backends.md", "core/store/example_test.go", "// kv stands for", "// Any store with a compare-and-swap"},
	} {
		_, tested, _ := strings.Cut(read(c.code), c.from)
		tested, _, found := strings.Cut(tested, c.to)
		if !found || !strings.Contains(read(c.doc), strings.TrimSpace(tested)) {
			t.Errorf("%s has other code than %s", c.doc, c.code)
		}
	}
}

// find returns the Go blocks of README.md and docs.
func find(t *testing.T) []block {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	for _, file := range append(files, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var current *block
		for i, line := range strings.SplitAfter(string(text), "\n") {
			switch fence := strings.TrimSpace(line); {
			case current == nil && fence == "```go":
				current = &block{file: filepath.Base(file), line: i + 1}
			case current != nil && fence == "```":
				blocks = append(blocks, *current)
				current = nil
			case current != nil:
				current.code += line
			}
		}
	}
	return blocks
}
