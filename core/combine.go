package traffik

import (
	"errors"
	"slices"
)

// Combine makes an identifier of several that must agree: a bucket for each
// combination, as for each user on each route, "value.user:42+route:/search".
// No value can hold a "+" of its own, so combinations can't be forged.
//
// A part that is absent stands there with its scheme alone ("value.user:"):
// all requests without it share what the other parts tell apart. [Exempted] or
// a failure of any part, the first in order, is the answer.
//
// No identifier at all, a nil one, and one with an error of its own are
// configuration errors, kept.
func Combine(ids ...*Identifier) *Identifier {
	ids = slices.Clone(ids)
	id := &Identifier{scheme: "combine", trusts: trustsOf(ids), err: checkParts("Combine", ids)}
	if id.err != nil {
		return id
	}
	id.compose = func(r *Request) (string, error) {
		var room [128]byte
		joined, absent := room[:0], 0
		for i, part := range ids {
			name, err := part.answer(r)
			switch {
			case err != nil && errors.Is(err, ErrAbsent):
				name = part.anonymous()
				absent++
			case err == errAllAbsent: //nolint:errorlint // this very value
				absent++
			case err != nil:
				return "", err
			}
			if i > 0 {
				joined = append(joined, '+')
			}
			joined = append(joined, name...)
		}
		if absent == len(ids) {
			return string(joined), errAllAbsent
		}
		return string(joined), nil
	}
	return id
}
