package traffik

// A hit takes one unit or more of one to five limits that count one identity in integers:
// nearly every call of a Memory. It is decided on the stack and stored in the entries, under
// one lock, without an Op, a pool or a defer, since nothing can panic there. What needs
// more, such as a full shard, goes to Memory.take.

// hitLimits is the largest number of limits in a hit.
const hitLimits = 5

// hit draws cost units on id, counted by c. If that needs Memory.take, it reports false and
// has done nothing.
func (m *Memory) hit(id string, c *counting, cost int64, out *Decision) (done bool) {
	// This is enter, written out to save three calls.
	var reading int64
	if m.system != nil {
		reading = m.system.reading()
	} else {
		reading = int64(m.now())
	}
	sh, hash := m.shard(id)
	sh.mu.Lock()
	now := Instant(reading)
	if m.system != nil {
		now = m.system.at(sh.latest(reading))
	}
	e := sh.find(hash, Key{Scope: c.scope, ID: id})
	if e != nil && e.by == c {
		if known, admitted := c.hit(&e.numbers, &e.numbers, int64(now), cost, out); known {
			e.markDenied(!admitted)
			sh.mu.Unlock()
			return true
		}
	}
	if done = e != nil || sh.count < sh.maxKeys; done {
		x := pendingHit{e: e}
		d := Draw{Rate: c.rate, Cost: cost, Now: now}
		x.decide(c, &d, out)
		x.keep(sh, hash, id, c, &d, out)
	}
	sh.mu.Unlock()
	return done
}

// hitAll draws on all limits of rec, or on none if one of them denies and is not report-only.
// Like hit, it reports false if it has done nothing.
func (m *Memory) hitAll(rec *record) (done bool) {
	sh, hash, now := m.enter(rec.id)
	done = sh.hitAll(hash, now, rec)
	sh.mu.Unlock()
	return done
}

// pendingHit is a decided hit on one entry, which is nil for a newcomer. wrote says that
// numbers are its next state.
type pendingHit struct {
	e       *entry
	numbers [3]int64
	wrote   bool
}

// decide decides d by c.
func (x *pendingHit) decide(c *counting, d *Draw, dec *Decision) {
	e := x.e
	if e == nil {
		e = new(entry)
	}
	x.wrote = e.decide(c, d, &x.numbers, dec)
}

// keep stores the decision on d. A newcomer with nothing to write gets no entry.
func (x *pendingHit) keep(sh *shard, hash uint64, id string, c *counting, d *Draw, dec *Decision) {
	switch {
	case x.e == nil && !x.wrote:
		return
	case x.e == nil:
		x.e = sh.insert(hash, Key{Scope: c.scope, ID: id}, d.Now, room{})
	}
	x.e.keep(c, &x.numbers, x.wrote, d, dec)
}

// hitAll is Memory.hitAll with the lock of sh held.
func (sh *shard) hitAll(hash uint64, now Instant, rec *record) (done bool) {
	var hits [hitLimits]pendingHit
	free, newcomers, denied := sh.maxKeys-sh.count, 0, false
	limits := rec.limits[:rec.n]
	for i := range limits {
		l, x := &limits[i], &hits[i]
		c := l.settings.counting
		if x.e = sh.find(hash, Key{Scope: c.scope, ID: rec.id}); x.e == nil {
			if newcomers++; newcomers > free {
				return false
			}
		}
		var dec Decision
		known := false
		if x.e != nil && x.e.by == c {
			known, x.wrote = c.hit(&x.numbers, &x.e.numbers, int64(now), rec.costOf(l), &dec)
		}
		if !known {
			x.decide(c, &Draw{Rate: c.rate, Cost: rec.costOf(l), Now: now}, &dec)
			if dec.At != now {
				return false // the clock stepped back, and a record has one instant for all
			}
		}
		l.answer(&dec)
		denied = denied || !dec.Allowed && !l.settings.reportOnly
	}
	rec.at, rec.denied = now, denied
	for i := range limits {
		l, x := &limits[i], &hits[i]
		c := l.settings.counting
		if denied && l.outcome == Admitted { // decided again as a look
			var dec Decision
			x.decide(c, &Draw{Rate: c.rate, Now: now}, &dec)
			l.answer(&dec)
			l.outcome = Uncharged
		}
		if x.e != nil {
			x.keepLimit(sh, hash, rec, l)
		}
	}
	// Newcomers come last, since each frees some expired entries.
	for i := range limits {
		if x := &hits[i]; newcomers > 0 && x.e == nil {
			x.keepLimit(sh, hash, rec, &limits[i])
		}
	}
	return true
}

// keepLimit is keep for the decision in l.
func (x *pendingHit) keepLimit(sh *shard, hash uint64, rec *record, l *limit) {
	c := l.settings.counting
	if l.outcome == Admitted && x.e != nil && x.e.by == c {
		x.e.numbers = x.numbers
		x.e.markDenied(false)
		return
	}
	d, dec := Draw{Now: rec.at}, l.decision(rec.at)
	if l.outcome != Uncharged {
		d.Cost = 1
	}
	x.keep(sh, hash, rec.id, c, &d, &dec)
}
