package traffik

import (
	"cmp"
	"slices"
)

// memoryTake is a Take or Peek: it decides every op first, and then stores all or none. It
// is pooled to use the memory of its slices again.
type memoryTake struct {
	m       *Memory
	targets []target
	locked  []*shard // in the order of their number
}

// target is where one op of a Take reads and writes.
type target struct {
	op   *Op
	hash uint64
	sh   *shard
	e    *entry // nil for a newcomer
	room room   // of a newcomer
	draw *Draw  // of the op, or look
	look Draw   // the op's as a look: another op denied, or there is nothing to refund
	// by counts the op in integers, and wrote says that numbers are its next state. If by is
	// nil, next is its next state in bytes, kept in buf while others are decided.
	by        *counting
	numbers   [3]int64
	wrote     bool
	next, buf []byte
}

// enters reports whether the op needs a new entry.
func (t *target) enters() bool { return t.e == nil && !t.room.overflows }

// lookOnly turns the draw into a look.
func (t *target) lookOnly() {
	t.look = t.op.Draw
	t.look.Cost = 0
	t.draw = &t.look
}

// decide decides the draw in integers, or on a state in bytes.
func (t *target) decide(state []byte, out *Decision) {
	if t.by == nil {
		t.next = t.sh.decide(state, t.op.Strategy, t.draw, out)
		out.spilled = t.room.overflows && t.draw.Cost > 0
		return
	}
	e := t.e
	if e == nil {
		e = new(entry)
	}
	t.wrote = e.decide(t.by, t.draw, &t.numbers, out)
}

// commit stores what was decided. It reports whether the key has its own entry, and none
// that had not expired was replaced for it.
func (t *target) commit(dec *Decision) (exact bool) {
	writes := t.wrote || len(t.next) > 0
	switch {
	case t.room.overflows:
		t.sh.storeSpill(t.op.Key.Scope, t.room.spill, t.draw, t.next, dec)
		t.sh.overflowed(t.op.Key.Scope, &t.op.Draw)
		return t.op.Draw.Cost <= 0
	case t.e == nil && !writes: // an untouched key needs no entry
		return true
	case t.e != nil && !writes && t.draw.Cost < 0: // the refund has left it untouched
		t.sh.remove(t.e)
		return true
	case t.e == nil:
		t.e = t.sh.insert(t.hash, t.op.Key, t.draw.Now, t.room)
		if t.by == nil {
			t.e.beside().scope = t.op.Key.Scope
		}
	}
	if t.by != nil {
		t.e.keep(t.by, &t.numbers, t.wrote, t.draw, dec)
	} else {
		t.e.store(t.draw, t.next, dec)
	}
	return t.room.exact()
}

// take decides checked ops and, with commit, stores the outcome.
func (m *Memory) take(ops []Op, out []Decision, commit bool) {
	if len(ops) == 1 {
		op := &ops[0]
		if m.takeKnown(op.Key, op.Strategy, op.counted(), &op.Draw, &out[0], commit) {
			return
		}
	}
	p, _ := m.takes.Get().(*memoryTake) // the pool holds nothing else
	defer m.takes.Put(p)
	p.m = m
	if inexact := p.run(ops, out, commit); inexact != nil {
		m.warnFull(inexact.Key.Scope)
	}
}

// takeKnown is take for one draw on a key that has an entry. by counts it in integers,
// unless nil. For other keys it reports false and has done nothing.
func (m *Memory) takeKnown(key Key, strategy Strategy, by *counting, d *Draw, out *Decision, commit bool) (done bool) {
	sh, hash, now := m.enter(key.ID)
	defer sh.mu.Unlock() // a strategy may panic
	e := sh.find(hash, key)
	if e == nil || d.refundsSpilled() {
		return false
	}
	d.Now = now
	var next []byte
	var numbers [3]int64
	wrote := false
	if by != nil {
		wrote = e.decide(by, d, &numbers, out)
	} else {
		next = sh.decide(e.state(sh.stored[:0]), strategy, d, out)
	}
	switch {
	case !commit:
	case d.Cost < 0 && !wrote && len(next) == 0: // the refund has left it untouched
		sh.remove(e)
	case by != nil:
		e.keep(by, &numbers, wrote, d, out)
	default:
		e.store(d, next, out)
	}
	return true
}

// run returns the first newcomer, if any, that overflowed or replaced a key that had not
// expired. It releases the locks even if a strategy panics.
func (p *memoryTake) run(ops []Op, out []Decision, commit bool) (inexact *Op) {
	p.lock(ops)
	defer p.unlock()
	now := p.now()
	for i := range ops {
		ops[i].Draw.Now = now
		p.locate(&p.targets[i], &ops[i])
	}
	for i := range p.targets {
		p.makeRoom(i)
	}
	p.decide(out)
	for i := range p.targets {
		if t := &p.targets[i]; commit && !t.commit(&out[i]) && inexact == nil {
			inexact = t.op
		}
	}
	return inexact
}

// lock locks all shards of ops in the order of their number, so that two Takes never wait
// for each other.
func (p *memoryTake) lock(ops []Op) {
	p.targets = slices.Grow(p.targets[:0], len(ops))[:len(ops)]
	p.locked = p.locked[:0]
	for i := range ops {
		t := &p.targets[i]
		// All ops of one caller are in one shard, which is the common case.
		if i > 0 && ops[i].Key.ID == ops[i-1].Key.ID {
			t.hash, t.sh = p.targets[i-1].hash, p.targets[i-1].sh
			continue
		}
		t.sh, t.hash = p.m.shard(ops[i].Key.ID)
		p.locked = append(p.locked, t.sh)
	}
	if len(p.locked) > 1 {
		slices.SortFunc(p.locked, func(a, b *shard) int { return cmp.Compare(a.number, b.number) })
		p.locked = slices.Compact(p.locked)
	}
	for _, sh := range p.locked {
		sh.mu.Lock()
	}
}

// now reads the clock under all locks, and so after all earlier draws.
func (p *memoryTake) now() (now Instant) {
	reading := p.m.reading()
	for _, sh := range p.locked {
		now = p.m.instant(sh, reading)
	}
	return now
}

// unlock also drops what the pooled memory would keep alive.
func (p *memoryTake) unlock() {
	for i := range p.targets {
		t := &p.targets[i]
		if t.e != nil {
			t.e.marks &^= reserved
		}
		if t.room.victim != nil {
			t.room.victim.marks &^= reserved
		}
		*t = target{buf: t.buf}
	}
	for i, sh := range p.locked {
		sh.mu.Unlock()
		p.locked[i] = nil
	}
}

// locate finds the entry of op and reserves it, so that a Take never replaces a key that it
// draws on.
func (p *memoryTake) locate(t *target, op *Op) {
	t.op, t.draw = op, &op.Draw
	t.by = op.counted()
	if t.sh.refunds(op.Key.Scope, &op.Draw) {
		return
	}
	if t.e = t.sh.find(t.hash, op.Key); t.e == nil {
		return
	}
	t.e.marks |= reserved
	if op.Draw.refundsSpilled() {
		t.lookOnly()
	}
}

// makeRoom finds room for target i if it is a newcomer: a free entry, a victim or an overflow
// counter.
func (p *memoryTake) makeRoom(i int) {
	t := &p.targets[i]
	if t.e != nil {
		return
	}
	t.room = t.sh.room(t.op.Key.Scope, t.hash, &t.op.Draw, p.targets[:i])
	if t.room.victim != nil {
		t.room.victim.marks |= reserved
	}
	if t.room.looks {
		t.lookOnly()
	}
	if t.room.overflows {
		t.by = nil // targets may share the counter, and state finds what the others made of it
	}
}

// decide decides all targets. If one denies, it decides those that would fit again as looks.
func (p *memoryTake) decide(out []Decision) {
	denied := false
	for i := range p.targets {
		p.decideOne(i, &out[i])
		denied = denied || !out[i].Allowed && !p.targets[i].op.Advisory
	}
	if !denied {
		return
	}
	for i := range p.targets {
		if t := &p.targets[i]; out[i].Allowed {
			t.lookOnly()
			p.decideOne(i, &out[i])
		}
	}
}

func (p *memoryTake) decideOne(i int, out *Decision) {
	t := &p.targets[i]
	if t.by != nil {
		t.decide(nil, out)
		return
	}
	t.decide(p.state(i), out)
	t.buf = append(t.buf[:0], t.next...)
	t.next = t.buf
}

// state returns the state for target i: that of its entry or, on an overflow counter, what
// an earlier target of the same Take is about to store there.
func (p *memoryTake) state(i int) []byte {
	t := &p.targets[i]
	switch {
	case t.e != nil:
		return t.e.state(t.sh.stored[:0])
	case !t.room.overflows:
		return nil
	}
	for j := i - 1; j >= 0; j-- {
		switch before := &p.targets[j]; {
		case !before.shares(t):
		case len(before.next) > 0:
			return before.next
		case before.draw.Cost < 0: // it has emptied the counter
			return nil
		}
	}
	return t.room.spill.state(t.sh.stored[:0])
}

// shares reports whether t and other are on one overflow counter.
func (t *target) shares(other *target) bool {
	return t.sh == other.sh && t.room.overflows && other.room.overflows &&
		t.op.Key.Scope == other.op.Key.Scope && t.room.spill.index == other.room.spill.index
}
