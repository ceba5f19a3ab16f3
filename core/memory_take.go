package traffik

import (
	"cmp"
	"slices"
)

// memoryTake is a Take or Peek between its decision and its commit: every op is decided
// first, and then all are stored or none. It is pooled, with the memory of its slices.
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
	look Draw   // the op's as a look: another op denied, or a refund finds nothing to refund
	// by counts the op in integers: wrote says that numbers are its next state. If by is
	// nil, next is what the strategy appended, kept in buf while others are decided.
	by        *counting
	numbers   [3]int64
	wrote     bool
	next, buf []byte
}

// enters reports whether the op is of a newcomer that is to have an entry.
func (t *target) enters() bool { return t.e == nil && !t.room.overflows }

// lookOnly makes the op a look.
func (t *target) lookOnly() {
	t.look = t.op.Draw
	t.look.Cost = 0
	t.draw = &t.look
}

// decide decides the draw in integers, or else on a state in bytes.
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

// commit stores what was decided. It reports whether the key is counted on an entry of its
// own, and nobody else's gave way for it.
func (t *target) commit(dec *Decision) (exact bool) {
	writes := t.wrote || len(t.next) > 0
	switch {
	case t.room.overflows:
		t.sh.storeSpill(t.op.Key.Scope, t.room.spill, t.draw, t.next, dec)
		t.sh.overflowed(t.op.Key.Scope, &t.op.Draw)
		return t.op.Draw.Cost <= 0
	case t.e == nil && !writes: // of an untouched key nothing is kept
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

// takeKnown is take for one draw on a key that has an entry, counted by by unless that is
// nil. It reports false, and has done nothing, for others.
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

// run returns the first newcomer that overflowed or took the place of a key that had not
// expired, if any. A strategy may panic: the locks are released all the same.
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

// lock takes the locks of all shards concerned in the order of their number, so
// that two Takes never wait for each other.
func (p *memoryTake) lock(ops []Op) {
	p.targets = slices.Grow(p.targets[:0], len(ops))[:len(ops)]
	p.locked = p.locked[:0]
	for i := range ops {
		t := &p.targets[i]
		// The common case is one caller, and so one shard, throughout.
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

// now reads the clock under all locks, so after everybody who drew before.
func (p *memoryTake) now() (now Instant) {
	reading := p.m.reading()
	for _, sh := range p.locked {
		now = p.m.instant(sh, reading)
	}
	return now
}

// unlock also lets go of the entries and strategies that the pooled memory would
// otherwise keep alive.
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

// locate finds the entry of op and reserves it, so that the Take that draws on
// a key never gives it up for another.
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

// makeRoom promises target i, if it is a newcomer, a free entry, a victim or
// its overflow counter.
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
		t.by = nil // several targets may share the counter: state finds what the others made of it
	}
}

// decide decides all targets, and those that would be drawn once more as looks
// if one of the others denies.
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

// state is what target i is decided on: its entry's state or, on an overflow
// counter, what an earlier target of the same Take is about to store there.
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

// shares reports whether t and other are counted on one overflow counter.
func (t *target) shares(other *target) bool {
	return t.sh == other.sh && t.room.overflows && other.room.overflows &&
		t.op.Key.Scope == other.op.Key.Scope && t.room.spill.index == other.room.spill.index
}
