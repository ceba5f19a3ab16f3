package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// fault is one line of the list.
type fault struct {
	line string
	// strategies whose properties must fail, or tests of core that must.
	strategies []string
	// file, relative to core, in which text occurs once; instead takes its place.
	file, text, instead string
}

// ofCore reports whether tests of core have to notice f.
func (f fault) ofCore() bool { return strings.HasPrefix(f.strategies[0], "Test") }

// groups are the names that stand for several strategies in the list.
var groups = map[string][]string{
	"buckets": {"TokenBucket", "TokenBucketWithDebt", "LeakyBucket", "LeakyBucketWithQueue", "GCRA"},
	"windows": {
		"FixedWindow", "SlidingWindowCounter", "Tiered", "TimeOfDay", "Adaptive", "Priority", "QuotaWithRollover",
	},
}

func parse(list string) (faults []fault, err error) {
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 4 {
			return nil, fmt.Errorf("%s: want strategies | file | text | replacement", line)
		}
		f := fault{line: line, file: parts[1], text: parts[2], instead: parts[3]}
		for name := range strings.FieldsSeq(parts[0]) {
			if group, ok := groups[name]; ok {
				f.strategies = append(f.strategies, group...)
				continue
			}
			f.strategies = append(f.strategies, name)
		}
		if slices.ContainsFunc(faults, func(other fault) bool { return other.line == line }) {
			return nil, fmt.Errorf("%s: listed twice", line)
		}
		faults = append(faults, f)
	}
	return faults, nil
}

// apply returns the path of the file and what it holds with the fault in it.
func (f fault) apply() (path string, mutant []byte, err error) {
	if path, err = filepath.Abs(filepath.Join(core, f.file)); err != nil {
		return "", nil, err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	if n := strings.Count(string(source), f.text); n != 1 {
		return "", nil, fmt.Errorf("the text occurs %d times in %s, want once", n, f.file)
	}
	return path, []byte(strings.Replace(string(source), f.text, f.instead, 1)), nil
}
