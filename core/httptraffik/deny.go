package httptraffik

import (
	"net/http"
)

// Deny answers a request that [PassOn] has handed on, as the middleware would
// have: with Retry-After and the answer of its [OnDenied], else of the throttle that
// denied. It reports whether it did; a request that is within its limits is left
// alone.
func Deny(w http.ResponseWriter, r *http.Request) bool {
	mustRequest(r)
	outer := exchangeFrom(r.Context())
	if outer == nil || outer.Request.Verdict().Allowed() {
		return false
	}
	req := NewRequest(w, r) // w may be that of a middleware further in
	req.Route, req.Source = outer.Request.Route, outer.Request.Source
	req.Continue(&outer.Request)
	req.WriteHeaders()
	if outer.answer != nil {
		outer.answer(w, r, req.Verdict())
	} else {
		req.WriteDenied(req.Verdict())
	}
	return true
}
