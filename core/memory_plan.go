package traffik

import (
	"cmp"
	"slices"
)

// memoryPlan is a Take of several ops between its decision and its commit:
// every op is decided into scratch first, and then all are stored or none. It
// is pooled, with the memory of its slices.
type memoryPlan struct {
	m       *Memory
	targets []target
	locked  []*shard // in the order of their number
}

// target is where one op of a plan reads and writes.
type target struct {
	hash uint64
	sh   *shard
	e    *entry // nil for a newcomer
	room room   // of a newcomer
	op   *Op
	look Draw // the op's as a look: another op denied, or a refund finds nothing to refund
	// looks: look is decided instead.
	looks bool
	// by counts the op in integers: changed is what its entry becomes. If it is
	// nil, next is what the strategy appended.
	by      *counting
	changed entry
	next    []byte
}

// draw is the op's as it was decided.
func (t *target) draw() *Draw {
	if t.looks {
		return &t.look
	}
	return &t.op.Draw
}

// enters reports whether the op is of a newcomer that is to have an entry.
func (t *target) enters() bool { return t.e == nil && !t.room.overflows }

// lookOnly makes the op a look.
func (t *target) lookOnly() {
	t.look, t.looks = t.op.Draw, true
	t.look.Cost = 0
}

// takes reports whether the op takes units or looks, and gives none back.
func (t *target) takes() bool { return t.op.Draw.Cost >= 0 }

// drawAll decides several checked ops, counted by counts, and, with commit, stores
// the outcome.
func (m *Memory) drawAll(ops []Op, counts []*counting, out []Decision, commit bool) {
	p, _ := m.plans.Get().(*memoryPlan) // the pool holds nothing else
	defer m.plans.Put(p)
	p.m = m
	if inexact := p.draw(ops, counts, out, commit); inexact != nil {
		m.warnFull(inexact.Key.Scope)
	}
}

// draw returns the first newcomer that overflowed or took the place of a key that had not
// expired, if any.
func (p *memoryPlan) draw(ops []Op, counts []*counting, out []Decision, commit bool) (inexact *Op) {
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
	for i, by := range counts {
		if t := &p.targets[i]; t.takes() && !t.room.overflows {
			t.by = by
		}
	}
	p.decide(out)
	if commit {
		inexact = p.commit(out)
	}
	return inexact
}

// lock takes the locks of all shards concerned in the order of their number, so
// that two Takes never wait for each other.
func (p *memoryPlan) lock(ops []Op) {
	p.targets = slices.Grow(p.targets[:0], len(ops))[:len(ops)]
	p.locked = p.locked[:0]
	for i := range ops {
		t := &p.targets[i]
		// The common case is one caller, and so one shard, throughout.
		if i > 0 && ops[i].Key.ID == ops[i-1].Key.ID {
			t.hash, t.sh = p.targets[i-1].hash, p.targets[i-1].sh
			continue
		}
		t.hash = p.m.hash.of(ops[i].Key.ID)
		t.sh = &p.m.shards[t.hash&p.m.mask]
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
func (p *memoryPlan) now() (now Instant) {
	reading := p.m.reading()
	for _, sh := range p.locked {
		now = p.m.instant(sh, reading)
	}
	return now
}

// unlock also lets go of the entries and strategies that the pooled plan would
// otherwise keep alive.
func (p *memoryPlan) unlock() {
	for i := range p.targets {
		t := &p.targets[i]
		if t.e != nil {
			t.e.marks &^= reserved
		}
		if t.room.victim != nil {
			t.room.victim.marks &^= reserved
		}
		*t = target{next: t.next[:0]}
	}
	for i, sh := range p.locked {
		sh.mu.Unlock()
		p.locked[i] = nil
	}
}

// locate finds the entry of op and reserves it, so that the Take that draws on
// a key never gives it up for another.
func (p *memoryPlan) locate(t *target, op *Op) {
	t.op = op
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

// makeRoom promises target i, if it is a newcomer, a free place, a victim or
// its overflow counter.
func (p *memoryPlan) makeRoom(i int) {
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
}

// decide decides all targets, and those that would be drawn once more as looks
// if one of the others denies.
func (p *memoryPlan) decide(out []Decision) {
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

func (p *memoryPlan) decideOne(i int, out *Decision) {
	t := &p.targets[i]
	if t.by == nil {
		t.next = append(t.next[:0], t.sh.decide(p.state(i), t.op.Strategy, t.draw(), out)...)
		out.spilled = t.room.overflows && t.draw().Cost > 0
		return
	}
	t.changed = entry{}
	if t.e != nil {
		t.changed = *t.e
	}
	t.changed.decide(t.by, t.draw(), out)
}

// state is what target i is decided on: its entry's state or, on an overflow
// counter, what an earlier target of the plan is about to store there.
func (p *memoryPlan) state(i int) []byte {
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
		case before.draw().Cost < 0: // it has emptied the counter
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

// commit stores what was decided.
func (p *memoryPlan) commit(out []Decision) (inexact *Op) {
	for i := range p.targets {
		if t := &p.targets[i]; !t.commit(&out[i]) && inexact == nil {
			inexact = t.op
		}
	}
	return inexact
}

// commit reports whether the key is counted on an entry of its own, and nobody else's gave
// way for it.
func (t *target) commit(dec *Decision) (exact bool) {
	d := t.draw()
	switch {
	case t.room.overflows:
		t.sh.storeSpill(t.op.Key.Scope, t.room.spill, d, t.next, dec)
		t.sh.overflowed(t.op.Key.Scope, &t.op.Draw)
		return t.op.Draw.Cost <= 0
	case t.by != nil:
		return t.commitIntegers(d, dec)
	case t.e != nil:
		t.sh.store(t.e, d, t.next, dec)
	case len(t.next) > 0:
		t.sh.insertBytes(t.hash, t.op.Key, t.room, d, t.next, dec)
		return t.room.exact()
	}
	return true
}

// commitIntegers stores what was decided in integers. A newcomer of which nothing was
// written gets no entry.
func (t *target) commitIntegers(d *Draw, dec *Decision) (exact bool) {
	e := t.e
	switch {
	case e != nil:
		e.marked(d, dec)
	case t.changed.by != nil:
		e = t.sh.insert(t.hash, t.op.Key, d.Now, t.room)
	default:
		return true
	}
	e.by, e.numbers = t.changed.by, t.changed.numbers
	if d.Cost > 0 && !dec.Allowed && e.by != t.by {
		e.extendExpiry(d.Now, dec)
	}
	e.leaves(dec)
	return t.room.exact()
}
