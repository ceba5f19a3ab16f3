package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// workshop builds and runs the properties in a directory of its own.
type workshop struct{ dir string }

// seed makes a run of the list repeat the one before.
const seed = "-rapid.seed=20240229"

// efforts are tried in turn until a property turns red: most faults need few
// traces, some need many.
var efforts = []string{"-rapid.checks=200", "-rapid.checks=2000", "-rapid.checks=10000"}

// sound checks that all properties hold without a fault, since otherwise a red
// one would tell nothing, and returns the strategies that have them.
func (w workshop) sound(ctx context.Context) (strategies []string, err error) {
	program, err := w.compile(ctx)
	if err != nil {
		return nil, err
	}
	out, err := w.test(ctx, program, "", efforts[0])
	if err != nil {
		return nil, fmt.Errorf("the properties don't hold without a fault: %w\n%s", err, out)
	}
	for _, name := range results(out, "PASS") {
		if _, strategy, ok := strings.Cut(name, "/"); ok && !slices.Contains(strategies, strategy) {
			strategies = append(strategies, strategy)
		}
	}
	if len(strategies) == 0 {
		return nil, errors.New("no strategy has properties")
	}
	return strategies, nil
}

// build compiles the properties against core with f in it.
func (w workshop) build(ctx context.Context, f fault) (program string, err error) {
	path, mutant, err := f.apply()
	if err != nil {
		return "", err
	}
	faulty := filepath.Join(w.dir, "faulty.go")
	if err := os.WriteFile(faulty, mutant, 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: faulty}})
	if err != nil {
		return "", err
	}
	config := filepath.Join(w.dir, "overlay.json")
	if err := os.WriteFile(config, overlay, 0o600); err != nil {
		return "", err
	}
	return w.compile(ctx, "-overlay", config)
}

func (w workshop) compile(ctx context.Context, flags ...string) (program string, err error) {
	program = filepath.Join(w.dir, "properties.test")
	args := append([]string{"test", "-c", "-o", program}, flags...)
	out, err := exec.CommandContext(ctx, "go", append(args, properties)...).CombinedOutput() //nolint:gosec // our own words
	if err != nil {
		return "", fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	return program, nil
}

// redProperties returns the properties of the strategy that fail. A run that ends
// otherwise, because it was killed or could not start, tells nothing: an error.
func (w workshop) redProperties(ctx context.Context, program, strategy string) (red []string, _ error) {
	for _, effort := range efforts {
		out, err := w.test(ctx, program, "^Test/^"+strategy+"$", effort)
		if err == nil {
			continue
		}
		for _, name := range results(out, "FAIL") {
			if property, _, ok := strings.Cut(name, "/"); ok {
				red = append(red, strings.TrimPrefix(property, "Test"))
			}
		}
		slices.Sort(red)
		if len(red) > 0 {
			return red, nil
		}
		end := firstLine(out)
		if end == "" {
			return nil, fmt.Errorf("the run ended without a result: %w\n%s", err, out)
		}
		return []string{"the run as a whole: " + end}, nil // by a panic or an endless loop
	}
	return nil, nil
}

func (w workshop) test(ctx context.Context, program, only, effort string) (out []byte, err error) {
	//nolint:gosec // the program was built above
	cmd := exec.CommandContext(ctx, program, "-test.v", "-test.run="+only, "-test.timeout=5m",
		effort, seed, "-rapid.nofailfile", "-rapid.shrinktime=1ns")
	cmd.Dir = properties
	return cmd.CombinedOutput()
}

var result = regexp.MustCompile(`^\s*--- (PASS|FAIL): (\S+)`)

// results returns the names of the tests that ended in this way.
func results(out []byte, how string) (names []string) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		if m := result.FindStringSubmatch(lines.Text()); len(m) == 3 && m[1] == how {
			names = append(names, m[2])
		}
	}
	return names
}

// firstLine is that of a panic, that of the test's timeout included, "" if there was
// none.
func firstLine(out []byte) string {
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: stack overflow") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
