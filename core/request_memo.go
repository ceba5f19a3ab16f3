package traffik

// requestMemo is all that is remembered about one request: who it is, and how
// it was judged so far. One struct, so that it costs no allocation of its own.
type requestMemo struct {
	identities [3]identityMemo // the common case: one identifier of two parts
	more       []identityMemo
	verdict    Verdict
	first      [2]Result // where verdict starts, for want of more throttles
	ofFirst    [2]charge
	charges    int32 // how many of them are used
	deciding   bool  // a use is under way
	// ignored tells that ClientIP did not believe a forwarding header which came from what
	// looks like a proxy: the place of its convention, counted from 1.
	ignored uint8
	sampled bool // ClientIP looks at this request, see forwardedSample
}

// identityMemo is the answer of one identifier.
type identityMemo struct {
	by *Identifier
	id string
	// err is ErrAbsent, Exempted or a failure, nil for a found identity.
	err error
	// in is the use for which the answer holds; nil means for all nested uses
	// of the request.
	in *Request
}

func (r *Request) memo() *requestMemo {
	if r.shared == nil {
		r.shared = &r.own
	}
	return r.shared
}

// recall returns what by answered, if that holds for the use in.
func (a *requestMemo) recall(by *Identifier, in *Request) (memo identityMemo, ok bool) {
	m := a.slot(by)
	if m == nil || m.by != by || m.in != nil && m.in != in {
		return identityMemo{}, false
	}
	return *m, true
}

// remember keeps an answer, in place of that of an outer use which no longer
// holds: one memo for each identifier, however many uses a connection sees.
func (a *requestMemo) remember(memo identityMemo) {
	if m := a.slot(memo.by); m != nil {
		*m = memo
		return
	}
	a.more = append(a.more, memo)
}

// slot returns the memo of by, else a free one, else nil.
func (a *requestMemo) slot(by *Identifier) *identityMemo {
	for i := range a.identities {
		if m := &a.identities[i]; m.by == by || m.by == nil {
			return m
		}
	}
	for i := range a.more {
		if m := &a.more[i]; m.by == by {
			return m
		}
	}
	return nil
}
