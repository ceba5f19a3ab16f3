package traffik

import (
	"cmp"
	"slices"
)

// memoryPlan is a Take of several ops between its decision and its commit:
// every op is decided into scratch first, and then all are stored or none. It
// is pooled, with the memory of its slices.
type memoryPlan struct {
	m          *Memory
	targets    []target
	locked     []*shard // in the order of their number
	overflowed bool     // the lock of the overflow counters is held
}

// target is where one op of a plan reads and writes.
type target struct {
	hash uint64
	sh   *shard
	e    *entry // nil for a newcomer
	// victim is the entry that a newcomer to a full shard replaces.
	victim     *entry
	overflowed bool // e is an overflow counter
	op         *Op
	look       Draw // the op's as a look, when another op denied
	looks      bool
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

// takes reports whether the op takes units or looks, and gives none back.
func (t *target) takes() bool { return t.op.Draw.Cost >= 0 }

// drawAll decides several checked ops, counted by counts, and, with commit, stores
// the outcome.
func (m *Memory) drawAll(ops []Op, counts []*counting, out []Decision, commit bool) {
	p, _ := m.plans.Get().(*memoryPlan) // the pool holds nothing else
	defer m.plans.Put(p)
	p.m = m
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
		if t := &p.targets[i]; t.takes() && !t.overflowed {
			t.by = by
		}
	}
	p.decide(out)
	if commit {
		p.commit(out)
	}
}

// lock takes the locks of all shards concerned in the order of their number, so
// that two Takes never wait for each other. That of the overflow counters comes
// after them, if it is needed at all.
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
		if t.victim != nil {
			t.victim.marks &^= reserved
		}
		*t = target{next: t.next[:0]}
	}
	if p.overflowed {
		p.m.overflow.mu.Unlock()
		p.overflowed = false
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
	if t.e = t.sh.find(t.hash, op.Key); t.e != nil {
		t.e.marks |= reserved
	}
}

// makeRoom promises target i, if it is a newcomer, a free place, a victim or
// its overflow counter.
func (p *memoryPlan) makeRoom(i int) {
	t := &p.targets[i]
	if t.e != nil || t.sh.count+p.promised(i) < t.sh.maxKeys {
		return
	}
	if t.victim = t.sh.victim(t.op.Draw.Now); t.victim != nil {
		t.victim.marks |= reserved
		return
	}
	if !p.overflowed {
		p.m.overflow.mu.Lock()
		p.overflowed = true
	}
	t.e, t.overflowed = p.m.overflow.entry(t.op.Key.Scope), true
}

// promised counts the free places of target i's shard that go to newcomers
// before it.
func (p *memoryPlan) promised(i int) (places int) {
	for j := range i {
		if t := &p.targets[j]; t.sh == p.targets[i].sh && t.e == nil && t.victim == nil {
			places++
		}
	}
	return places
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
			t.look, t.looks = t.op.Draw, true
			t.look.Cost = 0
			p.decideOne(i, &out[i])
		}
	}
}

func (p *memoryPlan) decideOne(i int, out *Decision) {
	t := &p.targets[i]
	if t.by == nil {
		t.next = append(t.next[:0], t.sh.decide(p.state(i), t.op.Strategy, t.draw(), out)...)
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
	if t.e == nil {
		return nil
	}
	if t.overflowed {
		for j := i - 1; j >= 0; j-- {
			if before := &p.targets[j]; before.e == t.e && len(before.next) > 0 {
				return before.next
			}
		}
	}
	return t.e.state(t.sh.stored[:0])
}

// commit stores what was decided.
func (p *memoryPlan) commit(out []Decision) {
	for i := range p.targets {
		t := &p.targets[i]
		d := t.draw()
		switch {
		case t.overflowed:
			t.e.storeOverflow(d, t.next, &out[i])
			t.sh.lookFurther()
		case t.by != nil:
			t.commit(d, &out[i])
		case t.e != nil:
			t.sh.store(t.e, d, t.next, &out[i])
		case len(t.next) > 0:
			t.replaceVictim()
			t.sh.insertBytes(t.hash, t.op.Key, d, t.next, &out[i])
		}
	}
}

// commit stores what was decided in integers. A newcomer of which nothing was
// written gets no entry.
func (t *target) commit(d *Draw, dec *Decision) {
	e := t.e
	switch {
	case e != nil:
		e.marked(d, dec)
	case t.changed.by != nil:
		t.replaceVictim()
		e = t.sh.insert(t.hash, t.op.Key, d.Now)
	default:
		return
	}
	e.by, e.numbers = t.changed.by, t.changed.numbers
	if d.Cost > 0 && !dec.Allowed && e.by != t.by {
		e.stays(d.Now, dec)
	}
	e.leaves(dec)
}

func (t *target) replaceVictim() {
	if t.victim != nil {
		t.sh.remove(t.victim)
		t.sh.lookFurther()
	}
}
