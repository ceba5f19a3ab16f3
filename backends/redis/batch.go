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

// batch is a script call in flight: Takes and Peeks of one slot in order of arrival. One
// goroutine adds the calls, sends the batch, decides the calls from the answer and ends
// them. Batches come from a pool, so that their slices and tables are allocated once.
type batch struct {
	calls []*call
	keys  table[string]
	// runs holds, for each key, where in takes the run is that an equal draw may
	// join, plus 1; 0 for none.
	runs  []int
	specs table[drawSpec]
	takes []byte // as the script reads them
	data  []byte // takes and specs, as the script reads them

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

// table lists distinct values. Each has a size: 1 for a key, which the script knows by its
// number, and bytes for a draw spec, which the script knows by its distance from the end.
type table[K comparable] struct {
	all  []K
	ends map[K]uint16
	size uint16
}

// end returns the sum of the sizes of all values up to value, which has the given size.
func (t *table[K]) end(value K, size uint16) uint16 {
	if n := len(t.all); n > 0 && t.all[n-1] == value { // often the same again
		return t.size
	}
	end, known := t.ends[value]
	if !known {
		t.all = append(t.all, value)
		t.size += size
		end = t.size
		t.ends[value] = end
	}
	return end
}

// reset forgets all values. To clear the map would take as long as for the largest batch
// ever.
func (t *table[K]) reset() {
	for _, value := range t.all {
		delete(t.ends, value)
	}
	clear(t.all)
	t.all, t.size = t.all[:0], 0
}

var batches = sync.Pool{New: func() any {
	return &batch{keys: table[string]{ends: map[string]uint16{}}, specs: table[drawSpec]{ends: map[drawSpec]uint16{}}}
}}

// end ends all calls of b with err, if it is one, and the panic of a hook of the client, if
// there was one. Neither the calls nor b are touched afterwards.
func (b *batch) end(err error, panicked any) {
	for _, c := range b.calls {
		c.panicked = panicked
		c.finish(err)
	}
	clear(b.calls)
	b.keys.reset()
	b.specs.reset()
	*b = batch{
		calls: b.calls[:0], keys: b.keys, runs: b.runs[:0], specs: b.specs, takes: b.takes[:0], data: b.data,
		states: b.states, before: b.before, changes: b.changes,
	}
	batches.Put(b)
}

// add appends c as the script reads it. A draw joins the run of equal draws on its key
// if they were the last to use the key.
func (b *batch) add(c *call) {
	b.calls = append(b.calls, c)
	b.custom, b.refunds = b.custom || c.custom, b.refunds || c.refunds
	at, head := len(b.takes), uint16(len(c.keys)) //nolint:gosec // at most maxOps
	switch {
	case c.peek:
		head |= isPeek
	case c.run:
		head |= isRun
	}
	b.takes = binary.LittleEndian.AppendUint16(b.takes, head)
	c.index = c.index[:0]
	for i := range c.keys {
		key, spec := b.keys.end(c.keys[i], 1), b.specs.end(c.specs[i], c.specs[i].size)
		if len(b.runs) < len(b.keys.all) {
			b.runs = append(b.runs, 0)
		}
		c.index = append(c.index, key-1)
		first := b.runs[key-1]
		if c.run && first > 0 && binary.LittleEndian.Uint16(b.takes[first+3:]) == spec {
			b.takes = b.takes[:at]
			times := b.takes[first-1:]
			binary.LittleEndian.PutUint16(times, binary.LittleEndian.Uint16(times)+1)
			return
		}
		b.takes = binary.LittleEndian.AppendUint16(b.takes, key)
		b.takes = binary.LittleEndian.AppendUint16(b.takes, spec)
		b.runs[key-1] = 0
		if c.run {
			b.runs[key-1] = at + 1
		}
		if c.specs[i].family >= familyLog {
			b.told++
		}
	}
}

// read decides the calls in the order in which the script did, beginning with the states
// that the script found. A draw sees what the draws before it on its key have left, as in
// the script, so both have the same next states. The script answers itself for logs and
// custom scripts. script/head.lua describes the answer.
func (b *batch) read(answer string) error {
	n, size := len(b.keys.all), 0
	for i := 8; i < min(8+n, len(answer)); i++ {
		size += int(answer[i])
	}
	if want := 8 + n + size + b.told*toldBytes; len(answer) != want {
		return fmt.Errorf("%w: it answered %d bytes instead of %d", ErrScript, len(answer), want)
	}
	now := traffik.Instant(math.Float64frombits(binary.LittleEndian.Uint64([]byte(answer[:8]))))
	rest := answer[8+n:]
	for i := range n {
		if i == len(b.states) {
			b.states = append(b.states, nil)
		}
		length := answer[8+i]
		b.states[i] = append(b.states[i][:0], rest[:length]...)
		rest = rest[length:]
	}
	for _, c := range b.calls {
		b.before = b.before[:0]
		for i := range c.ops {
			if i == len(b.changes) {
				b.changes = append(b.changes, store.Change{})
			}
			b.before = append(b.before, b.states[c.index[i]])
			c.ops[i].Draw.Now = now
			if c.specs[i].family >= familyLog {
				c.ops[i].Strategy, rest = readTold(rest), rest[toldBytes:]
			}
		}
		store.DecideAll(c.ops, b.before, c.out, b.changes[:len(c.ops)])
		for i := range c.ops {
			if change, at := &b.changes[i], c.index[i]; !c.peek && (change.Write || change.Delete) {
				b.states[at] = append(b.states[at][:0], change.State...)
			}
		}
	}
	return nil
}

// told is a decision of the script, as the strategy that makes it.
type told traffik.Decision

func (told) ID() string { return "told" }

func (t told) Decide(dst, _ []byte, _ *traffik.Draw) ([]byte, traffik.Decision) {
	return dst, traffik.Decision(t)
}

func readTold(script string) told {
	number := func(i int) int64 {
		return int64(math.Float64frombits(binary.LittleEndian.Uint64([]byte(script[8*i : 8*i+8]))))
	}
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
