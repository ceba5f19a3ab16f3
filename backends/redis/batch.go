package traffikredis

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	traffik "github.com/traffik-go/traffik/core"
)

// batch is what one script call is made of: calls of one slot in the order in
// which they came.
type batch struct {
	calls []*call
	keys  []string
	index map[string]uint16 // of keys, from 1
	// firsts are the calls that have an answer of their own or, with those of their
	// run, one together, and last is for each key the one that was the last to use
	// it, if others may still join its run.
	firsts []*call
	last   []*call
	// specs are the distinct ones, the last of them the most likely next.
	specs  []drawSpec
	known  map[drawSpec]uint16
	takes  []byte
	draws  []byte
	runs   []byte // see plain
	state  []byte // of the run that is decided
	spare  []byte // for the next
	custom bool
	once   bool

	sent  command
	whole bool // Redis is told the script and not only its name
	// pipelined says that the client was told not to repeat the command, because it
	// would repeat what goes with it too.
	pipelined bool
}

const (
	// maxOps bounds the ops of one batch, and with them the time for which one
	// script holds up everybody else: a few milliseconds. One whose log is long
	// counts for many.
	maxOps = 512
	isPeek = 1 << 15
	isRun  = 1 << 14 // of how many Takes follows
)

var batches = sync.Pool{New: func() any {
	return &batch{index: map[string]uint16{}, known: map[drawSpec]uint16{}}
}}

func newBatch() *batch {
	b, _ := batches.Get().(*batch) // the pool holds nothing else
	return b
}

func (b *batch) release() {
	clear(b.calls)
	clear(b.keys)
	clear(b.firsts)
	clear(b.last)
	if len(b.index) > 0 {
		clear(b.index)
	}
	if len(b.known) > 0 {
		clear(b.known)
	}
	b.calls, b.keys, b.specs = b.calls[:0], b.keys[:0], b.specs[:0]
	b.firsts, b.last = b.firsts[:0], b.last[:0]
	b.takes, b.draws = b.takes[:0], b.draws[:0]
	b.custom, b.once, b.whole, b.pipelined, b.sent = false, false, false, false, command{}
	batches.Put(b)
}

func (b *batch) add(c *call) {
	b.calls = append(b.calls, c)
	custom, refunds := c.needs()
	b.custom, b.once = b.custom || custom, b.once || refunds
	if b.joins(c) {
		return
	}
	c.next, c.end, c.start = nil, c, len(b.takes)
	b.firsts = append(b.firsts, c)
	head := uint16(len(c.keys)) //nolint:gosec // at most maxOps
	switch {
	case c.peek:
		head |= isPeek
	case c.runs():
		head |= isRun
	}
	b.takes = binary.LittleEndian.AppendUint16(b.takes, head)
	for i := range c.keys {
		key := b.keyIndex(c.keys[i])
		b.takes = binary.LittleEndian.AppendUint16(b.takes, key)
		b.takes = binary.LittleEndian.AppendUint16(b.takes, b.specIndex(&c.specs[i]))
		b.last[key-1] = nil
		if c.runs() {
			b.last[key-1] = c
		}
	}
}

// joins adds c to the run of those that draw alike, if they were the last to use its
// key.
func (b *batch) joins(c *call) bool {
	if !c.runs() {
		return false
	}
	first := b.last[b.keyIndex(c.keys[0])-1]
	if first == nil || first.specs[0] != c.specs[0] {
		return false
	}
	first.end.next, first.end, c.next = c, c, nil
	head := b.takes[first.start:]
	binary.LittleEndian.PutUint16(head, binary.LittleEndian.Uint16(head)+1)
	return true
}

// plain returns how many Takes and which spec each key has, a byte each, if there
// is one run on each and nothing else, and else nothing.
func (b *batch) plain() []byte {
	if len(b.firsts) != len(b.keys) {
		return nil
	}
	b.runs = b.runs[:0]
	for _, c := range b.firsts {
		if !c.runs() {
			return nil
		}
		times := binary.LittleEndian.Uint16(b.takes[c.start:]) &^ isRun
		spec := binary.LittleEndian.Uint16(b.takes[c.start+4:])
		if times > math.MaxUint8 || spec > math.MaxUint8 {
			return nil
		}
		b.runs = append(b.runs, byte(times), byte(spec))
	}
	return b.runs
}

// few is up to how many are looked through instead of up.
const few = 8

// keyIndex is the index of key, from 1.
func (b *batch) keyIndex(key string) uint16 {
	if len(b.keys) <= few {
		if at := slices.Index(b.keys, key); at >= 0 {
			return index16(at)
		}
	} else if at, known := b.index[key]; known {
		return at
	}
	b.keys, b.last = append(b.keys, key), append(b.last, nil)
	at := index16(len(b.keys) - 1)
	switch {
	case len(b.keys) == few+1:
		for i, key := range b.keys {
			b.index[key] = index16(i)
		}
	case len(b.keys) > few:
		b.index[key] = at
	}
	return at
}

// specIndex is the index of s, from 1.
func (b *batch) specIndex(s *drawSpec) uint16 {
	if n := len(b.specs); n > 0 && b.specs[n-1] == *s {
		return index16(n - 1)
	}
	if len(b.specs) > 0 {
		if at, known := b.known[*s]; known {
			return at
		}
	}
	b.specs = append(b.specs, *s)
	b.draws = s.append(b.draws)
	at := index16(len(b.specs) - 1)
	if len(b.specs) == 2 {
		b.known[b.specs[0]] = 1
	}
	if len(b.specs) > 1 {
		b.known[*s] = at
	}
	return at
}

// index16 is an index as the script counts it.
func index16(index int) uint16 { return uint16(index + 1) } //nolint:gosec // at most maxOps

// command returns the script call that b is.
func (b *batch) command(ctx context.Context, backend *Backend) command {
	s := takeScript
	if b.custom {
		s = backend.custom.current()
	}
	return s.command(ctx, b.once || b.pipelined, b.whole, b.keys, backend.instant(), b.draws, b.takes, b.plain())
}

// read hands the answer of the script to the calls.
func (b *batch) read(backend *Backend) {
	answer, err := b.sent.Text()
	if err == nil {
		err = b.decode([]byte(answer))
	}
	if err != nil {
		err = backend.failed(err)
		b.end(func(c *call) { c.err = err })
		return
	}
	backend.located.Store(true)
	b.end(func(*call) {})
}

// end has note say what became of the calls and tells their callers. Neither the
// calls nor b are touched afterwards.
func (b *batch) end(note func(*call)) {
	for _, c := range b.calls {
		note(c)
		c.finish()
	}
	b.release()
}

// answerOfStates is what an answer begins with that tells the states before and not
// what was decided.
const answerOfStates = 'S'

func (b *batch) decode(answer []byte) error {
	states := len(answer) > 0 && answer[0] == answerOfStates
	want := 1 + 8
	for _, c := range b.firsts {
		for i := range c.specs {
			if states {
				want += c.specs[i].stateBytes()
			} else {
				want += c.specs[i].answerBytes()
			}
		}
	}
	if len(answer) != want {
		return fmt.Errorf("%w: it answered %d bytes instead of %d", ErrScript, len(answer), want)
	}
	now := traffik.Instant(math.Float64frombits(binary.LittleEndian.Uint64(answer[1:])))
	answer = answer[1+8:]
	for _, c := range b.firsts {
		switch spec := &c.specs[0]; {
		case states:
			b.state = append(b.state[:0], answer[:spec.stateBytes()]...)
			answer = answer[spec.stateBytes():]
			b.decideRun(c, now)
		case c.next != nil:
			b.state = spec.stateBefore(b.state[:0], answer)
			answer = answer[spec.answerBytes():]
			b.decideRun(c, now)
		default:
			c.now, c.out = now, c.out[:0]
			for i := range c.specs {
				c.out = append(c.out, c.specs[i].decision(answer, now))
				answer = answer[c.specs[i].answerBytes():]
			}
		}
	}
	return nil
}

// decideRun decides for first and the others of its run, from b.state on, as the
// script has done at once.
func (b *batch) decideRun(first *call, now traffik.Instant) {
	for c := first; c != nil; c = c.next {
		draw := c.op.Draw
		draw.Now = now
		next, dec := c.op.Strategy.Decide(b.spare[:0], b.state, &draw)
		if len(next) > 0 {
			b.spare, b.state = b.state, next
		}
		c.now, c.out = now, append(c.out[:0], dec)
	}
}
