package traffik

import "slices"

// requestMemo is all that a request remembers: its identities and its verdict so far. It is
// part of Request, so it takes no allocation.
type requestMemo struct {
	identities [3]identityMemo // enough for one identifier of two parts
	more       []identityMemo
	verdict    Verdict // of all uses so far
	first      record  // of the first use, which nearly always is the only one
	used       bool    // first is
	deciding   bool    // a use is under way
	// ignored is the number of the forwarding convention that ClientIP did not believe, though
	// the peer looks like a proxy; 0 for none.
	ignored uint8
}

// identityMemo is the answer of one identifier.
type identityMemo struct {
	by *Identifier
	id string
	// err is ErrAbsent, Exempted or a failure, nil for a found identity.
	err error
	// in is the only use for which the answer holds; nil means all nested uses of the
	// request.
	in *Request
}

func (r *Request) memo() *requestMemo {
	if r.shared == nil {
		r.shared = &r.own
	}
	return r.shared
}

// repeat returns the results that stand, to be repeated without their charge and delay, and
// the throttles without one.
func (m *requestMemo) repeat(throttles []*Throttle) (repeated []Result, rest []*Throttle) {
	for _, t := range throttles {
		if res, decided := m.verdict.of(t); decided && res.stands() {
			res.cost, res.Delay = 0, 0
			repeated = append(repeated, res)
		}
	}
	if len(repeated) == 0 {
		return nil, throttles
	}
	for _, t := range throttles {
		if !slices.ContainsFunc(repeated, func(res Result) bool { return res.settings.owner == t }) {
			rest = append(rest, t)
		}
	}
	return repeated, rest
}

// add adds v, the verdict of one use, to that of the request. It replaces earlier results
// of the same throttles, which did not stand. Verdicts in the hands of callers don't change.
func (m *requestMemo) add(v Verdict) {
	if outer := m.verdict; outer.rec != nil {
		again := func(res Result) bool {
			_, decided := v.of(res.settings.owner)
			return decided
		}
		for i := range outer.n {
			if _, decided := v.of(outer.settings(i).owner); decided {
				outer = verdictOf(slices.DeleteFunc(outer.all(), again)...)
				break
			}
		}
		v.rec.outer, v.rec.stopped = outer.rec, !outer.Allowed()
		v.n += outer.n
	}
	m.verdict = v
}

// identity returns the memo of by, or a free one, whose by is nil. There is one for each
// identifier, however many uses a connection has. It is valid until the next call.
func (m *requestMemo) identity(by *Identifier) *identityMemo {
	for i := range m.identities {
		if known := &m.identities[i]; known.by == by || known.by == nil {
			return known
		}
	}
	for i := range m.more {
		if known := &m.more[i]; known.by == by || known.by == nil {
			return known
		}
	}
	m.more = append(m.more, identityMemo{})
	return &m.more[len(m.more)-1]
}
