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
// It tries the next one only if the identity is absent ([ErrAbsent]); [Exempted] and
// failures are final. If all are absent, the identity is "anonymous:". The schemes keep the
// buckets apart: a user named "192.0.2.1" is not that address.
//
// It keeps an error wrapping [ErrConfig] if there is no identifier, or a nil or wrong one.
func FirstOf(ids ...*Identifier) *Identifier {
	ids = slices.Clone(ids)
	id := composed("FirstOf", "anonymous", ids)
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
// other parts only. If parts are exempted or fail, the first of these decides.
//
// It keeps an error wrapping [ErrConfig] if there is no identifier, or a nil or wrong one.
func Combine(ids ...*Identifier) *Identifier {
	ids = slices.Clone(ids)
	id := composed("Combine", "combine", ids)
	id.compose = func(r *Request) (string, error) {
		var room [128]byte
		joined, absent := room[:0], 0
		for i, part := range ids {
			name, anonymous, err := part.orAnonymous(part.answer(r))
			if err != nil {
				return "", err
			}
			if anonymous {
				absent++
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

// composed returns an identifier made of others, still without compose, that keeps what is
// wrong with them.
func composed(function, scheme string, ids []*Identifier) *Identifier {
	id := &Identifier{scheme: scheme}
	if len(ids) == 0 {
		id.err = configError("%s(); give at least one identifier", function)
	}
	var trusts []string
	for i, part := range ids {
		switch {
		case part == nil:
			id.err = errors.Join(id.err, configError("argument %d of %s is nil; give an identifier such as ClientIP()", i+1, function))
			continue
		case part.err != nil:
			id.err = errors.Join(id.err, part.err)
		case part.isZero():
			id.err = errors.Join(id.err, configError("argument %d of %s is the zero Identifier; give one that was made, such as ClientIP()", i+1, function))
		}
		if part.trusts != "" && !slices.Contains(trusts, part.trusts) {
			trusts = append(trusts, part.trusts)
		}
	}
	id.trusts = strings.Join(trusts, "; ")
	return id
}
