package traffik

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// FirstOf makes an identifier that takes the first of ids which the request
// carries, as a user, else an address:
//
//	traffik.FirstOf(traffik.ByValue("user"), traffik.ClientIP())
//
// Only absence ([ErrAbsent]) moves on to the next; [Exempted] and failures are
// the answer. When all are absent it is "anonymous:". The schemes keep the
// buckets apart: a user named "192.0.2.1" is not that address.
//
// No identifier at all, a nil one, and one with an error of its own are
// configuration errors, kept.
func FirstOf(ids ...*Identifier) *Identifier {
	ids = slices.Clone(ids)
	id := &Identifier{scheme: "anonymous", trusts: trustsOf(ids), err: checkParts("FirstOf", ids)}
	if id.err != nil {
		return id
	}
	id.compose = func(r *Request) (string, error) {
		for _, part := range ids {
			if name, err := part.answer(r); err == nil || !errors.Is(err, ErrAbsent) {
				return name, err
			}
		}
		return "", ErrAbsent
	}
	return id
}

// trustsOf joins what the parts of a composed identifier trust.
func trustsOf(ids []*Identifier) string {
	var trusts []string
	for _, id := range ids {
		if id != nil && id.trusts != "" && !slices.Contains(trusts, id.trusts) {
			trusts = append(trusts, id.trusts)
		}
	}
	return strings.Join(trusts, "; ")
}

// checkParts returns what is wrong with the parts of a composed identifier.
func checkParts(function string, ids []*Identifier) error {
	if len(ids) == 0 {
		return fmt.Errorf("%w: %s(); give at least one identifier", ErrConfig, function)
	}
	var errs []error
	for i, id := range ids {
		switch {
		case id == nil:
			errs = append(errs, fmt.Errorf("%w: argument %d of %s is nil; give an identifier such as ClientIP()", ErrConfig, i+1, function))
		case id.err != nil:
			errs = append(errs, id.err)
		case id.isZero():
			errs = append(errs, fmt.Errorf("%w: argument %d of %s is the zero Identifier; give one that was made, such as ClientIP()", ErrConfig, i+1, function))
		}
	}
	return errors.Join(errs...)
}
