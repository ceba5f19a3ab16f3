package traffik

import (
	"errors"
	"fmt"
	"strings"

	"github.com/traffik-go/traffik/core/internal/escape"
)

// Exempted is the error that a function given to [Identify] returns to let a request pass
// without this limit: nothing is counted, and no header is written. It is an error and not
// a text, so no client can send it.
var Exempted = errors.New("traffik: exempted from the limit") //nolint:errname,staticcheck // like fs.SkipDir it is no failure

// ErrAbsent is the error that a function given to [Identify] returns when the request
// doesn't carry the identity. [FirstOf] then tries the next identifier. Otherwise all
// requests without it share one anonymous identity, so a client can't avoid the limit by
// omitting a header.
var ErrAbsent = errors.New("traffik: the request does not carry this identity")

// Identifier finds the identity that a request counts for. Make it once, with [ClientIP],
// [ByHeader], [Identify] or another constructor, and share it: a request computes the
// answer of one Identifier once, however many throttles use it. It is safe for concurrent
// use.
//
// An identity is "scheme:value" with the value escaped, so a header that holds "1.2.3.4" is
// not that address. An Identifier made from a wrong configuration keeps the error, and
// [New] returns it.
type Identifier struct {
	scheme string
	// of returns the escaped value, ErrAbsent, Exempted, or a failure.
	of func(*Request) (value string, err error)
	// whole means that of returns the complete identity, scheme included.
	whole bool
	// perUse marks an identity that later middleware may change: it is not remembered
	// beyond the use that asked.
	perUse bool
	// compose takes the place of of in FirstOf and Combine. Its answer is not remembered,
	// but those of its parts are.
	compose func(*Request) (id string, err error)
	// trusts is one text for all identifiers that read client addresses and trust the
	// same proxies, "" for those that read no address.
	trusts string
	err    error
}

// Identify makes an identifier from a function. The scheme names the kind of identity, such
// as "user": a letter, then letters, digits, "_", "-" or ".". The function returns the raw
// value, [ErrAbsent] or [Exempted]. An empty value means ErrAbsent; the throttle's error
// policy decides about any other error. It must be safe for concurrent use.
func Identify(scheme string, identify func(*Request) (string, error)) *Identifier {
	id := &Identifier{scheme: scheme, err: validScheme(scheme)}
	if identify == nil && id.err == nil {
		id.err = configError("Identify(%q, nil); give a function", scheme)
	}
	id.of = func(r *Request) (string, error) {
		value, err := identify(r)
		if err != nil {
			return "", err
		}
		return part(value)
	}
	return id
}

// Shared returns an identifier with one identity for every request, "shared:": one counter
// for all.
func Shared() *Identifier { return sharedIdentifier }

var sharedIdentifier = &Identifier{
	scheme: "shared",
	of:     func(*Request) (string, error) { return "shared:", nil },
	whole:  true,
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func validScheme(scheme string) error {
	if scheme == "" || strings.IndexByte(letters, scheme[0]) < 0 || strings.TrimLeft(scheme, letters+"0123456789_-.") != "" {
		return configError("the identity scheme is %q; accepted is a letter followed by letters, digits, \"_\", \"-\" or \".\"", scheme)
	}
	return nil
}

// IdentityOf returns the identity that [Identify] with this scheme makes of value, for
// [Throttle.Key]: IdentityOf("user", "alice") is "user:alice". For [ByParam], [ByQuery] and
// [ByValue] the scheme holds the name, such as "value.user" for ByValue("user"). It does
// not make the hashed identities of [ByHeader] and [ByCookie], nor those of [ClientIP].
//
// It panics unless the scheme starts with a letter and contains no ":", "+", "|", "{", "}",
// space or control character.
func IdentityOf(scheme, value string) string {
	if !isScheme(scheme) {
		panic(fmt.Sprintf("traffik: IdentityOf(%q, …): no identifier has this scheme; accepted is one as given to Identify, or as \"value.user\"", scheme))
	}
	return scheme + ":" + escape.Part(value)
}

// isScheme reports whether an identifier may have this scheme, with a name in it or
// without.
func isScheme(scheme string) bool {
	return scheme != "" && strings.IndexByte(letters, scheme[0]) >= 0 && !strings.ContainsFunc(scheme, func(c rune) bool {
		// "%" and "#" are those of an escaped or hashed name.
		return c == ':' || c <= ' ' || c < 0x80 && escape.Needed(byte(c)) && c != '%' && c != '#'
	})
}

// Identity returns the identity that r counts for. An absent one is "scheme:", shared by
// all requests without it. The error is [Exempted], or wraps [ErrIdentity] when the
// identifier failed, or [ErrUsage] for a nil or zero Identifier. A nil Request is empty.
func (id *Identifier) Identity(r *Request) (string, error) {
	if id == nil || id.isZero() {
		return "", errNobody
	}
	name, _, err := id.orAnonymous(id.answer(orEmpty(r)))
	return name, err
}

// orAnonymous turns the answer of a request that carries no identity into the one that all
// such requests share, and reports that it did.
func (id *Identifier) orAnonymous(answer string, err error) (name string, anonymous bool, _ error) {
	switch {
	case err == errAllAbsent: //nolint:errorlint // this very value
		return answer, true, nil
	case errors.Is(err, ErrAbsent):
		return id.scheme + ":", true, nil
	}
	return answer, false, err
}

// errAllAbsent comes with the identity that Combine makes when all parts are absent.
var errAllAbsent = errors.New("traffik: the request carries none of these identities")

func (id *Identifier) isZero() bool { return id.of == nil && id.compose == nil && id.err == nil }

// answer returns the complete identity of r, computed or remembered. An error is ErrAbsent,
// Exempted, errAllAbsent beside a name, or wraps ErrIdentity.
//
// Identities and exemptions hold for all nested uses of a request. Absence and failures,
// and all that depends on them, hold only for the use that met them: later middleware may
// know more.
func (id *Identifier) answer(r *Request) (name string, err error) {
	if id.compose != nil && id.err == nil {
		return id.compose(r)
	}
	known := r.memo()
	if memo := known.identity(id); memo.by == id && (memo.in == nil || memo.in == r) {
		r.perUse = r.perUse || memo.in != nil
		return memo.id, memo.err
	}
	outer := r.perUse // of an identifier that asks this one
	r.perUse = false
	if err = id.err; err == nil {
		name, err = id.of(r)
	}
	switch {
	case err == nil && !id.whole:
		name = id.scheme + ":" + name
	case err == nil:
	case id.err != nil:
		name, err = "", fmt.Errorf("%w: %w", ErrIdentity, err)
	case errors.Is(err, Exempted):
		name, err = "", Exempted
	case errors.Is(err, ErrAbsent):
		name, err = "", ErrAbsent
	default:
		name, err = "", fmt.Errorf("%w: %s: %w", ErrIdentity, id.scheme, err)
	}
	memo := identityMemo{by: id, id: name, err: err}
	if r.perUse || id.perUse || err != nil && err != Exempted { //nolint:errorlint // this very value
		memo.in = r
	}
	r.perUse = outer || memo.in != nil
	*known.identity(id) = memo
	return name, err
}

// namedScheme returns the scheme of a kind of identity that exists once per name. Unlike in
// a value, ":" is escaped, so that name and value can't be confused.
func namedScheme(kind, name string) string {
	return kind + "." + strings.ReplaceAll(escape.Part(name), ":", "%3A")
}

func nonEmpty(function, name string) error {
	if name == "" {
		return configError("%s(\"\"); give a name", function)
	}
	return nil
}

// part returns value as part of a key, ErrAbsent if it is empty.
func part(value string) (string, error) {
	if value == "" {
		return "", ErrAbsent
	}
	return escape.Part(value), nil
}

// secret is part for a value that must not be readable in the key.
func secret(value string) (string, error) {
	if value == "" {
		return "", ErrAbsent
	}
	return escape.Hash(value), nil
}
