package webtest

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// observation is all that was seen of a behaviour, in the order in which each
// witness saw it: the handler, the client, the server's log, each connection.
// Durations are never part of it.
type observation struct {
	mu       sync.Mutex
	seen     map[string][]string
	conns    map[net.Conn]string
	stripped []string      // names of documented headers, which are left out
	panics   chan struct{} // one for each panic that the server has logged
}

func newObservation(documented ...string) *observation {
	return &observation{seen: map[string][]string{}, conns: map[net.Conn]string{}, stripped: documented, panics: make(chan struct{}, 100)}
}

// note keeps a line as seen by a witness.
func (o *observation) note(witness, format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[witness] = append(o.seen[witness], anonymous(fmt.Sprintf(format, args...)))
}

var (
	address  = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	boundary = regexp.MustCompile(`[0-9a-f]{60}`)
	// caller is what the server's log says of misuse: by a handler, or by the
	// writer that stands between.
	caller = regexp.MustCompile(` from \S+ \(\w+\.go:\d+\)$`)
)

// anonymous replaces what differs from run to run: addresses, and the random
// boundaries of multipart bodies.
func anonymous(s string) string {
	return boundary.ReplaceAllString(address.ReplaceAllString(s, "ADDRESS"), "BOUNDARY")
}

// state is the server's hook for states of connections.
func (o *observation) state(conn net.Conn, state http.ConnState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns[conn] == "" {
		o.conns[conn] = fmt.Sprintf("connection %d", len(o.conns)+1)
	}
	o.seen[o.conns[conn]] = append(o.seen[o.conns[conn]], state.String())
}

// Write takes what the server logs, without the stack of a panic.
func (o *observation) Write(b []byte) (int, error) {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	o.note("log", "%s", caller.ReplaceAll(line, nil))
	if bytes.Contains(line, []byte("panic serving")) {
		o.panics <- struct{}{}
	}
	return len(b), nil
}

// header notes a header or trailer without the documented names and the date.
func (o *observation) header(witness, kind string, h http.Header) {
	h = h.Clone()
	for _, name := range append(o.stripped, "Date") {
		h.Del(name)
	}
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	slices.Sort(h["Allow"]) // chi keeps the methods in a map
	for _, name := range names {
		o.note(witness, "%s %s: %q", kind, name, h[name])
	}
}

// lines notes text line by line, without header lines of the documented names
// and the date.
func (o *observation) lines(witness, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		name, _, _ := strings.Cut(line, ":")
		if name = http.CanonicalHeaderKey(name); name != "Date" && !slices.Contains(o.stripped, name) {
			o.note(witness, "%q", line)
		}
	}
}

// body notes a body, a long one by its checksum.
func (o *observation) body(witness string, b []byte, err error) {
	if text := anonymous(string(b)); len(text) < 400 {
		o.note(witness, "body %q, error %v", text, err)
	} else {
		o.note(witness, "body of %d bytes, checksum %08x, error %v", len(text), crc32.ChecksumIEEE([]byte(text)), err)
	}
}

func (o *observation) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	witnesses := make([]string, 0, len(o.seen))
	for witness := range o.seen {
		witnesses = append(witnesses, witness)
	}
	slices.Sort(witnesses)
	var b strings.Builder
	for _, witness := range witnesses {
		fmt.Fprintf(&b, "%s:\n\t%s\n", witness, strings.Join(o.seen[witness], "\n\t"))
	}
	return b.String()
}

// wantSame compares what was seen without limits and with them.
func wantSame(t *testing.T, bare, limited *observation) {
	t.Helper()
	if without, with := bare.String(), limited.String(); without != with {
		t.Errorf("without limits\n%s\nwith limits\n%s", without, with)
	}
}
