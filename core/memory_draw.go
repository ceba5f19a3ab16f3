package traffik

import "unique"

// hitNewcomer decides a draw of one unit or more, counted by c, on a key that has no entry.
// It is called with mu held and releases it, also when it panics. It reports whether the key
// is counted on an entry of its own, and nobody else's gave way for it.
func (sh *shard) hitNewcomer(hash uint64, id string, c *counting, d *Draw, out *Decision) (exact bool) {
	defer sh.mu.Unlock()
	r := sh.room(c.scope, hash, d, nil)
	if r.overflows {
		e := r.spill.e
		if e == nil {
			e = new(entry)
		}
		if e.draw(c, d, out); e.live() {
			sh.keepSpill(c.scope, r.spill, e, d.Now)
		}
		out.spilled = true
		sh.overflowed(c.scope, d)
		return false
	}
	var untouched entry
	if untouched.draw(c, d, out); untouched.by == nil {
		return true
	}
	e := sh.insert(hash, Key{Scope: c.scope, ID: id}, d.Now, r)
	e.by, e.numbers = c, untouched.numbers
	return r.exact()
}

// drawOne decides a draw on key and, with commit, stores what it decides. Lock and answer
// are as with hitNewcomer.
func (sh *shard) drawOne(hash uint64, key Key, strategy Strategy, d *Draw, out *Decision, commit bool) (exact bool) {
	defer sh.mu.Unlock()
	if e := sh.find(hash, key); e != nil && !sh.refunds(key.Scope, d) {
		if d.refundsSpilled() {
			look := *d
			look.Cost = 0
			d = &look
		}
		next := sh.decide(e.state(sh.stored[:0]), strategy, d, out)
		if commit {
			sh.store(e, d, next, out)
		}
		return true
	}
	r := sh.room(key.Scope, hash, d, nil)
	if r.overflows {
		return !sh.drawOverflow(key.Scope, &r, strategy, d, out, commit)
	}
	next := sh.decide(nil, strategy, d, out)
	if !commit || len(next) == 0 {
		return true
	}
	sh.insertBytes(hash, key, r, d, next, out)
	return r.exact()
}

// drawOverflow decides a draw of a newcomer that found no room, and reports whether it was
// counted.
func (sh *shard) drawOverflow(scope unique.Handle[string], r *room, strategy Strategy, d *Draw, out *Decision, commit bool) (counted bool) {
	var look Draw
	if r.looks {
		look = *d
		look.Cost = 0
		d = &look
	}
	next := sh.decide(r.spill.state(sh.stored[:0]), strategy, d, out)
	out.spilled = d.Cost > 0
	if !commit {
		return false
	}
	sh.storeSpill(scope, r.spill, d, next, out)
	sh.overflowed(scope, d)
	return d.Cost > 0
}
