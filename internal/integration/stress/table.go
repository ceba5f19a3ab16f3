package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// table counts the runs and failures of each package, and writes to log what those
// that failed printed.
type table struct {
	log  io.Writer
	rows map[string]*row
	// output is what the packages under way have printed, and which test.
	output map[string][]printed
}

type row struct {
	runs, failures int
	slowest        time.Duration
}

type printed struct {
	test, text string
	failed     bool // with this output: under -cpu a test runs more than once, by one name
}

func newTable(log io.Writer) *table {
	return &table{log: log, rows: map[string]*row{}, output: map[string][]printed{}}
}

// event is one line of go test -json; see go doc test2json.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64 // seconds
}

// add takes a line of go test -json, in the pass of that name.
func (t *table) add(pass, line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
		t.output[""] = append(t.output[""], printed{text: line}) // of the go command itself
		return
	}
	switch e.Action {
	case "output", "build-output":
		if e.Package == "" {
			e.Package, _, _ = strings.Cut(e.ImportPath, " ") // "path [path.test]"
		}
		t.output[e.Package] = append(t.output[e.Package], printed{test: e.Test, text: e.Output})
	case "pass", "skip", "fail":
		t.ended(pass, e)
	}
}

func (t *table) ended(pass string, e event) {
	if e.Test != "" {
		t.testEnded(e)
		return
	}
	if e.Action == "skip" { // a package without tests
		delete(t.output, e.Package)
		return
	}
	r := t.row(e.Package)
	r.runs++
	r.slowest = max(r.slowest, time.Duration(e.Elapsed*float64(time.Second)))
	if e.Action == "fail" {
		var texts []string
		for _, p := range append(t.output[""], t.output[e.Package]...) {
			texts = append(texts, p.text)
		}
		t.fail(pass, e.Package, texts)
	}
	delete(t.output, e.Package)
}

// testEnded keeps what a test printed if it failed. Else that helps nobody.
func (t *table) testEnded(e event) {
	output := t.output[e.Package]
	if e.Action != "fail" {
		t.output[e.Package] = slices.DeleteFunc(output, func(p printed) bool { return p.test == e.Test && !p.failed })
		return
	}
	for i := range output {
		output[i].failed = output[i].failed || output[i].test == e.Test
	}
}

func (t *table) row(name string) *row {
	if t.rows[name] == nil {
		t.rows[name] = new(row)
	}
	return t.rows[name]
}

// fail counts a failure and writes what it printed.
func (t *table) fail(pass, name string, texts []string) {
	t.row(name).failures++
	_, _ = fmt.Fprintf(t.log, "==== %s: %s\n%s\n", pass, name, strings.Join(texts, ""))
}

func (t *table) failures() (n int) {
	for _, r := range t.rows {
		n += r.failures
	}
	return n
}

func (t *table) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "\nruns\tfailures\tslowest\t  package")
	for _, name := range slices.Sorted(maps.Keys(t.rows)) {
		r := t.rows[name]
		_, _ = fmt.Fprintf(w, "%d\t%d\t%v\t  %s\n", r.runs, r.failures, r.slowest.Round(100*time.Millisecond), name)
	}
	_ = w.Flush()
}

// lines is a writer that hands out whole lines.
type lines struct {
	each func(line string)
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		at := bytes.IndexByte(l.rest, '\n')
		if at < 0 {
			return len(b), nil
		}
		l.each(string(l.rest[:at+1]))
		l.rest = l.rest[at+1:]
	}
}

// flush hands out what no newline ended.
func (l *lines) flush() {
	if len(l.rest) > 0 {
		l.each(string(l.rest) + "\n")
		l.rest = nil
	}
}
