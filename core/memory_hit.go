package traffik

// Hits are draws of one unit or more that are counted in integers: nearly all calls of a
// [Memory]. They are decided on the stack and stored in their entries, without an Op and
// without a defer: nothing can panic while the lock is held. What needs more than that, such
// as a shard that is full, goes to [Memory.Take].

// hitLimits is how many limits of one Take are decided so.
const hitLimits = 5

// hit draws cost units that c counts on id. It reports false, and has done nothing, if that
// takes a [Memory.Take].
func (m *Memory) hit(id string, c *counting, cost int64, out *Decision) (done bool) {
	// The same as enter, written out to save three calls.
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

// hitAll draws on all limits of rec, which count its identity, or on none if one that does
// not only report denies. Like hit it reports false if it has done nothing.
func (m *Memory) hitAll(rec *record) (done bool) {
	if rec.n == 1 {
		l, dec := &rec.limits[0], Decision{}
		if done = m.hit(rec.id, l.settings.counting, rec.costOf(l), &dec); done {
			l.answer(&dec)
			rec.at, rec.denied = dec.At, !dec.Allowed && !l.settings.reportOnly
		}
		return done
	}
	sh, hash, now := m.enter(rec.id)
	done = sh.hitAll(hash, now, rec)
	sh.mu.Unlock()
	return done
}

// pendingHit is what a hit makes of one entry, which is nil for a newcomer.
type pendingHit struct {
	e       *entry
	numbers [3]int64
	wrote   bool
}

// decide decides d by c, into dec.
func (x *pendingHit) decide(c *counting, d *Draw, dec *Decision) {
	e := x.e
	if e == nil {
		e = new(entry)
	}
	x.wrote = e.decide(c, d, &x.numbers, dec)
}

// keep stores what was decided on d. A newcomer of which nothing is to be written gets no
// entry.
func (x *pendingHit) keep(sh *shard, hash uint64, id string, c *counting, d *Draw, dec *Decision) {
	switch {
	case x.e == nil && !x.wrote:
		return
	case x.e == nil:
		x.e = sh.insert(hash, Key{Scope: c.scope, ID: id}, d.Now, room{})
	}
	x.e.keep(c, &x.numbers, x.wrote, d, dec)
}

// hitAll is [Memory.hitAll] with the lock of sh held.
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
				return false // the clock stepped back: a record has one instant for all
			}
		}
		l.answer(&dec)
		denied = denied || !dec.Allowed && !l.settings.reportOnly
	}
	rec.at, rec.denied = now, denied
	for i := range limits {
		l, x := &limits[i], &hits[i]
		c := l.settings.counting
		if denied && l.outcome == Admitted { // once more, as a look
			var dec Decision
			x.decide(c, &Draw{Rate: c.rate, Now: now}, &dec)
			l.answer(&dec)
			l.outcome = Uncharged
		}
		if x.e != nil {
			x.keepLimit(sh, hash, rec, l)
		}
	}
	// Newcomers come last: each frees some of the entries that have expired.
	for i := range limits {
		if x := &hits[i]; newcomers > 0 && x.e == nil {
			x.keepLimit(sh, hash, rec, &limits[i])
		}
	}
	return true
}

// keepLimit is keep for what was answered into l.
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
