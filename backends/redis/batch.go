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

// batch is what one script call is made of: calls of one place in the order in
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
	// shapes are the distinct ones, the last of them the most likely next.
	shapes []shape
	known  map[shape]uint16
	takes  []byte
	draws  []byte
	runs   []byte // see plain
	state  []byte // of the run that is decided
	spare  []byte // for the next
	own    bool
	once   bool

	sent  command
	whole bool // Redis is told the script and not only its name
	// company says that the client was told not to repeat the command, because it
	// would repeat what goes with it too.
	company bool
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
	return &batch{index: map[string]uint16{}, known: map[shape]uint16{}}
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
	b.calls, b.keys, b.shapes = b.calls[:0], b.keys[:0], b.shapes[:0]
	b.firsts, b.last = b.firsts[:0], b.last[:0]
	b.takes, b.draws = b.takes[:0], b.draws[:0]
	b.own, b.once, b.whole, b.company, b.sent = false, false, false, false, command{}
	batches.Put(b)
}

func (b *batch) add(c *call) {
	b.calls = append(b.calls, c)
	own, gives := c.needs()
	b.own, b.once = b.own || own, b.once || gives
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
		b.takes = binary.LittleEndian.AppendUint16(b.takes, b.shapeIndex(&c.shapes[i]))
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
	if first == nil || first.shapes[0] != c.shapes[0] {
		return false
	}
	first.end.next, first.end, c.next = c, c, nil
	head := b.takes[first.start:]
	binary.LittleEndian.PutUint16(head, binary.LittleEndian.Uint16(head)+1)
	return true
}

// plain returns how many Takes and which shape each key has, a byte each, if there
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
		shape := binary.LittleEndian.Uint16(b.takes[c.start+4:])
		if times > math.MaxUint8 || shape > math.MaxUint8 {
			return nil
		}
		b.runs = append(b.runs, byte(times), byte(shape))
	}
	return b.runs
}

// few is up to how many are looked through instead of up.
const few = 8

// keyIndex is the place of key, from 1.
func (b *batch) keyIndex(key string) uint16 {
	if len(b.keys) <= few {
		if at := slices.Index(b.keys, key); at >= 0 {
			return place16(at)
		}
	} else if at, known := b.index[key]; known {
		return at
	}
	b.keys, b.last = append(b.keys, key), append(b.last, nil)
	at := place16(len(b.keys) - 1)
	switch {
	case len(b.keys) == few+1:
		for i, key := range b.keys {
			b.index[key] = place16(i)
		}
	case len(b.keys) > few:
		b.index[key] = at
	}
	return at
}

// shapeIndex is the place of s, from 1.
func (b *batch) shapeIndex(s *shape) uint16 {
	if n := len(b.shapes); n > 0 && b.shapes[n-1] == *s {
		return place16(n - 1)
	}
	if len(b.shapes) > 0 {
		if at, known := b.known[*s]; known {
			return at
		}
	}
	b.shapes = append(b.shapes, *s)
	b.draws = s.append(b.draws)
	at := place16(len(b.shapes) - 1)
	if len(b.shapes) == 2 {
		b.known[b.shapes[0]] = 1
	}
	if len(b.shapes) > 1 {
		b.known[*s] = at
	}
	return at
}

// place16 is an index as the script counts it.
func place16(index int) uint16 { return uint16(index + 1) } //nolint:gosec // at most maxOps

// command returns the script call that b is.
func (b *batch) command(ctx context.Context, backend *Backend) command {
	s := takeScript
	if b.own {
		s = backend.own.current()
	}
	return s.command(ctx, b.once || b.company, b.whole, b.keys, backend.instant(), b.draws, b.takes, b.plain())
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
		for i := range c.shapes {
			if states {
				want += c.shapes[i].stateBytes()
			} else {
				want += c.shapes[i].answerBytes()
			}
		}
	}
	if len(answer) != want {
		return fmt.Errorf("%w: it answered %d bytes instead of %d", ErrScript, len(answer), want)
	}
	now := traffik.Instant(math.Float64frombits(binary.LittleEndian.Uint64(answer[1:])))
	answer = answer[1+8:]
	for _, c := range b.firsts {
		switch shape := &c.shapes[0]; {
		case states:
			b.state = append(b.state[:0], answer[:shape.stateBytes()]...)
			answer = answer[shape.stateBytes():]
			b.decideRun(c, now)
		case c.next != nil:
			b.state = shape.stateBefore(b.state[:0], answer)
			answer = answer[shape.answerBytes():]
			b.decideRun(c, now)
		default:
			c.now, c.out = now, c.out[:0]
			for i := range c.shapes {
				c.out = append(c.out, c.shapes[i].decision(answer, now))
				answer = answer[c.shapes[i].answerBytes():]
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
