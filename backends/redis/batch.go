package traffikredis

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// batch is a script call in flight: Takes and Peeks of one slot in order of arrival.
type batch struct {
	calls []*call
	keys  []string
	index map[string]uint16 // of keys, from 1
	// runs holds, for each key, where in takes the run is that an equal draw may
	// join, plus 1; 0 for none.
	runs  []int
	specs []drawSpec
	known map[drawSpec]uint16 // the index of specs, from 1
	draws []byte
	takes []byte

	states  [][]byte // of keys
	before  [][]byte // of the ops of one call
	changes []store.Change

	told    int // ops that the script decides
	custom  bool
	refunds bool

	sent  command
	whole bool // sent with the script instead of its hash
	// pipelined says that the client must not repeat the command, because it would
	// repeat what was sent with it.
	pipelined bool
}

const (
	// maxOps bounds the ops of one batch, and so the time for which one script blocks
	// Redis: a few milliseconds. An op on a long log counts as many.
	maxOps = 512
	isPeek = 1 << 15
	isRun  = 1 << 14
	// toldBytes is the length of a decision that the script made.
	toldBytes = 7 * 8
)

var batches = sync.Pool{New: func() any {
	return &batch{index: map[string]uint16{}, known: map[drawSpec]uint16{}}
}}

func newBatch() *batch {
	b, _ := batches.Get().(*batch) // the pool holds nothing else
	return b
}

// release keeps the memory of b for another batch.
func (b *batch) release() {
	for _, key := range b.keys { // clear takes as long as for the largest batch ever
		delete(b.index, key)
	}
	for _, spec := range b.specs {
		delete(b.known, spec)
	}
	clear(b.calls)
	clear(b.keys)
	*b = batch{
		calls: b.calls[:0], keys: b.keys[:0], index: b.index, runs: b.runs[:0], specs: b.specs[:0], known: b.known,
		draws: b.draws[:0], takes: b.takes[:0], states: b.states, before: b.before, changes: b.changes,
	}
	batches.Put(b)
}

// add appends c as the script reads it. A draw joins the run of equal draws on its key
// if they were the last to use the key.
func (b *batch) add(c *call) {
	b.calls = append(b.calls, c)
	b.custom, b.refunds = b.custom || c.custom, b.refunds || c.refunds
	at, head, run := len(b.takes), uint16(len(c.keys)), c.canRun() //nolint:gosec // at most maxOps
	switch {
	case c.peek:
		head |= isPeek
	case run:
		head |= isRun
	}
	b.takes = binary.LittleEndian.AppendUint16(b.takes, head)
	c.index = c.index[:0]
	for i := range c.keys {
		key, spec := b.keyIndex(c.keys[i]), b.specIndex(&c.specs[i])
		c.index = append(c.index, key-1)
		first := b.runs[key-1]
		if run && first > 0 && binary.LittleEndian.Uint16(b.takes[first+3:]) == spec {
			b.takes = b.takes[:at]
			times := b.takes[first-1:]
			binary.LittleEndian.PutUint16(times, binary.LittleEndian.Uint16(times)+1)
			return
		}
		b.takes = binary.LittleEndian.AppendUint16(b.takes, key)
		b.takes = binary.LittleEndian.AppendUint16(b.takes, spec)
		b.runs[key-1] = 0
		if run {
			b.runs[key-1] = at + 1
		}
		if !c.specs[i].counts() {
			b.told++
		}
	}
}

// keyIndex returns the index of key, from 1.
func (b *batch) keyIndex(key string) uint16 {
	at, known := b.index[key]
	if !known {
		b.keys, b.runs = append(b.keys, key), append(b.runs, 0)
		at = uint16(len(b.keys)) //nolint:gosec // at most maxOps
		b.index[key] = at
	}
	return at
}

// specIndex returns the index of s, from 1.
func (b *batch) specIndex(s *drawSpec) uint16 {
	if n := len(b.specs); n > 0 && b.specs[n-1] == *s { // the usual
		return uint16(n) //nolint:gosec // at most maxOps
	}
	at, known := b.known[*s]
	if !known {
		b.specs = append(b.specs, *s)
		b.draws = s.append(b.draws)
		at = uint16(len(b.specs)) //nolint:gosec // at most maxOps
		b.known[*s] = at
	}
	return at
}

// read decides the calls, from the states that the script found on, in the order in
// which the script decided them.
func (b *batch) read(answer string) error {
	n, size := len(b.keys), 0
	for i := 8; i < min(8+n, len(answer)); i++ {
		size += int(answer[i])
	}
	if want := 8 + n + size + b.told*toldBytes; len(answer) != want {
		return fmt.Errorf("%w: it answered %d bytes instead of %d", ErrScript, len(answer), want)
	}
	now := traffik.Instant(float(answer))
	found := answer[8+n:]
	for i := range n {
		if i == len(b.states) {
			b.states = append(b.states, nil)
		}
		length := answer[8+i]
		b.states[i] = append(b.states[i][:0], found[:length]...)
		found = found[length:]
	}
	for _, c := range b.calls {
		found = b.decide(c, now, found)
	}
	return nil
}

// decide decides c at now, and returns what follows its decisions in those of the
// script.
func (b *batch) decide(c *call, now traffik.Instant, script string) (rest string) {
	b.before = b.before[:0]
	for i := range c.ops {
		if i == len(b.changes) {
			b.changes = append(b.changes, store.Change{})
		}
		b.before = append(b.before, b.states[c.index[i]])
		c.ops[i].Draw.Now = now
		if !c.specs[i].counts() {
			c.ops[i].Strategy, script = readTold(script), script[toldBytes:]
		}
	}
	store.DecideAll(c.ops, b.before, c.out, b.changes[:len(c.ops)])
	for i := range c.ops {
		if change, at := &b.changes[i], c.index[i]; !c.peek && (change.Write || change.Delete) {
			b.states[at] = append(b.states[at][:0], change.State...)
		}
	}
	return script
}

// told is a decision of the script, as the strategy that makes it.
type told traffik.Decision

func (told) ID() string { return "told" }

func (t told) Decide(dst, _ []byte, _ *traffik.Draw) ([]byte, traffik.Decision) {
	return dst, traffik.Decision(t)
}

func readTold(script string) told {
	number := func(i int) int64 { return int64(float(script[8*i:])) }
	wait := func(i int) time.Duration { return time.Duration(number(i)) * time.Microsecond }
	t := told{
		Allowed: number(0) != 0, Limit: number(1), Remaining: number(2), RetryAfter: wait(3),
		ResetAfter: wait(4), Delay: wait(5), At: traffik.Instant(number(6)),
	}
	if t.RetryAfter < 0 {
		t.RetryAfter = traffik.Never
	}
	return t
}

// float reads the double that text begins with.
func float(text string) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64([]byte(text[:8])))
}
