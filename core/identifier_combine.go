package traffik

import (
	"errors"
	"slices"
	"strings"
)

// FirstOf makes an identifier that takes the first of ids that the request carries, such as
// a user, otherwise an address:
//
//	traffik.FirstOf(traffik.ByValue("user"), traffik.ClientIP())
//
// Only absence ([ErrAbsent]) moves on to the next; [Exempted] and failures are the answer.
// When all are absent it is "anonymous:". The schemes keep the buckets apart: a user named
// "192.0.2.1" is not that address.
//
// It keeps an error wrapping [ErrConfig] if there is no identifier, or a nil or wrong one.
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

// Combine makes an identifier with a bucket for each combination of ids, such as each user
// on each route, "value.user:42+route:/search". "+" is escaped in values, so combinations
// can't be forged.
//
// An absent part is its scheme alone ("value.user:"): requests without it differ by the
// other parts only. [Exempted] or a failure of any part, the first in order, is the answer.
//
// It keeps an error wrapping [ErrConfig] if there is no identifier, or a nil or wrong one.
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

// trustsOf joins the proxies that the parts of a composed identifier trust.
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
		return configError("%s(); give at least one identifier", function)
	}
	var errs []error
	for i, id := range ids {
		switch {
		case id == nil:
			errs = append(errs, configError("argument %d of %s is nil; give an identifier such as ClientIP()", i+1, function))
		case id.err != nil:
			errs = append(errs, id.err)
		case id.isZero():
			errs = append(errs, configError("argument %d of %s is the zero Identifier; give one that was made, such as ClientIP()", i+1, function))
		}
	}
	return errors.Join(errs...)
}
