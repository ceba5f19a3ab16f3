// Command mutants checks that the properties of the strategies and the tests of core can
// fail. It puts one listed fault at a time into a copy of a file and builds the tests
// against it. For each strategy that the fault is listed for, a property must fail. If
// the fault is listed for tests of core, each of those tests must fail. The files
// themselves are never changed.
//
//	go run ./mutants [PART]
//
// With PART it tries only the faults whose line contains it.
package main

import (
	"context"
	_ "embed"
	"fmt"
	"log"
	"os"
	"strings"
)

//go:embed faults.txt
var listed string

const (
	// fewestFaults of the whole list and of each strategy.
	fewestFaults, fewestEach = 40, 2
	core                     = "../../core"
	properties               = "./properties/promises"
)

func main() {
	log.SetFlags(0)
	part := ""
	if len(os.Args) > 1 {
		part = os.Args[1]
	}
	bad, err := run(context.Background(), part)
	if err != nil {
		log.Fatal(err)
	}
	if bad > 0 {
		os.Exit(1)
	}
}

// run tries the faults and returns how many of them were not noticed or could
// not be tried.
func run(ctx context.Context, part string) (bad int, err error) {
	dir, err := os.MkdirTemp("", "traffik-mutants")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	w := workshop{dir: dir}
	strategies, err := w.sound(ctx)
	if err != nil {
		return 0, err
	}
	faults, err := parse(listed)
	if err != nil {
		return 0, err
	}
	if err := enough(faults, strategies); err != nil {
		return 0, err
	}
	tried := 0
	for _, f := range faults {
		if !strings.Contains(f.line, part) {
			continue
		}
		tried++
		if !w.report(ctx, f) {
			bad++
		}
	}
	if tried == 0 {
		return 0, fmt.Errorf("no line of the list contains %q", part)
	}
	log.Printf("%d faults tried, %d of them not noticed", tried, bad)
	return bad, nil
}

// enough checks that the list covers all strategies.
func enough(faults []fault, strategies []string) error {
	if len(faults) < fewestFaults {
		return fmt.Errorf("%d faults are listed, want %d at least", len(faults), fewestFaults)
	}
	of := map[string]int{}
	for _, f := range faults {
		if f.ofCore() {
			continue
		}
		for _, s := range f.strategies {
			of[s]++
		}
	}
	for _, s := range strategies {
		if of[s] < fewestEach {
			return fmt.Errorf("%d faults are listed for %s, want %d at least", of[s], s, fewestEach)
		}
		delete(of, s)
	}
	for s := range of {
		return fmt.Errorf("faults are listed for %q, which has no properties", s)
	}
	return nil
}

// report tries f and prints which properties or tests turned red.
func (w workshop) report(ctx context.Context, f fault) (noticed bool) {
	log.Printf("%s: %s -> %s", f.file, f.text, f.instead)
	program, err := w.build(ctx, f)
	if err != nil {
		log.Printf("    BROKEN %v", err)
		return false
	}
	red, noticed := w.redProperties, true
	if f.ofCore() {
		red = w.redTest
	}
	for _, s := range f.strategies {
		red, err := red(ctx, program, s)
		if err != nil {
			log.Printf("    BROKEN in %s: %v", s, err)
			noticed = false
			continue
		}
		if len(red) == 0 {
			log.Printf("    SURVIVED in %s", s)
			noticed = false
			continue
		}
		log.Printf("    %s: %s", s, strings.Join(red, ", "))
	}
	return noticed
}
