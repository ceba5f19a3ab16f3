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

// workshop builds and runs the properties in a temporary directory.
type workshop struct{ dir string }

// seed makes a run of the list repeat the one before.
const seed = "-rapid.seed=20240229"

// efforts are tried in turn until a property turns red: most faults need few
// traces, some need many.
var efforts = []string{"-rapid.checks=200", "-rapid.checks=2000", "-rapid.checks=10000"}

// sound checks that all properties hold without a fault, since otherwise a red
// one would tell nothing, and returns the strategies that have them.
func (w workshop) sound(ctx context.Context) (strategies []string, err error) {
	program, err := w.compile(ctx, properties)
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

// build compiles the properties, or the tests of core, with f in it.
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
	if f.ofCore() {
		return w.compile(ctx, core, "-overlay", config)
	}
	return w.compile(ctx, properties, "-overlay", config)
}

func (w workshop) compile(ctx context.Context, tests string, flags ...string) (program string, err error) {
	program = filepath.Join(w.dir, "properties.test")
	args := append([]string{"test", "-c", "-o", program}, flags...)
	out, err := exec.CommandContext(ctx, "go", append(args, tests)...).CombinedOutput() //nolint:gosec // our own words
	if err != nil {
		return "", fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	return program, nil
}

// redProperties returns the properties of the strategy that fail.
func (w workshop) redProperties(ctx context.Context, program, strategy string) (red []string, err error) {
	for _, effort := range efforts {
		out, failed := w.test(ctx, program, "^Test/^"+strategy+"$", effort)
		red, err = redOf(out, failed, func(name string) (property string, ok bool) {
			property, _, ok = strings.Cut(strings.TrimPrefix(name, "Test"), "/")
			return property, ok
		})
		if err != nil || len(red) > 0 {
			return red, err
		}
	}
	return nil, nil
}

// redTest returns the test of core, if it fails.
func (w workshop) redTest(ctx context.Context, program, test string) (red []string, err error) {
	out, failed := execute(ctx, program, core, "-test.run=^"+test+"$")
	return redOf(out, failed, func(name string) (string, bool) { return name, name == test })
}

// redOf returns what failed in a run, by the names of its tests. A run that ended
// otherwise, because it was killed or could not start, tells nothing: an error.
func redOf(out []byte, failed error, nameOf func(test string) (name string, ok bool)) (red []string, err error) {
	if failed == nil {
		return nil, nil
	}
	for _, test := range results(out, "FAIL") {
		if name, ok := nameOf(test); ok {
			red = append(red, name)
		}
	}
	slices.Sort(red)
	if len(red) > 0 {
		return red, nil
	}
	end := firstLine(out)
	if end == "" {
		return nil, fmt.Errorf("the run ended without a result: %w\n%s", failed, out)
	}
	return []string{"the run as a whole: " + end}, nil // by a panic or an endless loop
}

func (w workshop) test(ctx context.Context, program, only, effort string) (out []byte, err error) {
	return execute(ctx, program, properties, "-test.run="+only, effort, seed, "-rapid.nofailfile", "-rapid.shrinktime=1ns")
}

// execute runs a test program in the directory of its package.
func execute(ctx context.Context, program, dir string, flags ...string) (out []byte, err error) {
	cmd := exec.CommandContext(ctx, program, append([]string{"-test.v", "-test.timeout=5m"}, flags...)...) //nolint:gosec // built by compile
	cmd.Dir = dir
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
