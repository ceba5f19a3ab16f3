package traffik

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/traffik-go/traffik/core/internal/escape"
)

// nativeContext is a Source made of two maps.
type nativeContext struct {
	params map[string]string
	values map[any]any
}

func (s nativeContext) Param(name string) string { return s.params[name] }
func (s nativeContext) Value(key any) any        { return s.values[key] }

type (
	typedString string
	typedUint   uint16
	contextKey  int
	pointerKey  struct{ name string }
	account     struct{ number int }
)

func (a *account) String() string { return fmt.Sprintf("account-%d", a.number) }

func TestReadyMadeIdentifiers(t *testing.T) {
	t.Parallel()
	req := func() *Request {
		return &Request{
			Host:     "a.example",
			Route:    "/users/:id",
			RawQuery: "tenant=acme+co&tenant=second&empty=&x%3Ay=z",
			Header:   headerOf("X-API-Key", "s3cret", "X-API-Key", "second", "Cookie", `a=1; session="abc"`, "X-Empty", ""),
			Source: nativeContext{
				params: map[string]string{"id": "42/{x}"},
				values: map[any]any{"user": "ann+bob", contextKey(1): 7},
			},
		}
	}
	for _, tc := range []struct {
		name string
		id   *Identifier
		want string
	}{
		{"header", ByHeader("x-api-KEY"), "header.x-api-key:" + escape.Hash("s3cret")},
		{"header missing", ByHeader("X-Other"), "header.x-other:"},
		{"header empty", ByHeader("X-Empty"), "header.x-empty:"},
		{"header host", ByHeader("host"), "header.host:" + escape.Hash("a.example")},
		{"cookie", ByCookie("session"), "cookie.session:" + escape.Hash("abc")},
		{"cookie missing", ByCookie("Session"), "cookie.Session:"},
		{"query", ByQuery("tenant"), "query.tenant:acme%20co"},
		{"query empty", ByQuery("empty"), "query.empty:"},
		{"query missing", ByQuery("other"), "query.other:"},
		{"query escaped name", ByQuery("x:y"), "query.x%3Ay:z"},
		{"param", ByParam("id"), "param.id:42/%7Bx%7D"},
		{"param missing", ByParam("other"), "param.other:"},
		{"value", ByValue("user"), "value.user:ann%2Bbob"},
		{"value typed key", ByValue(contextKey(1)), "value.(traffik.contextKey)1:7"},
		{"value missing", ByValue("other"), "value.other:"},
		{"route", ByRoute(), "route:/users/:id"},
		{"shared", Shared(), "shared:"},
		{"function", Identify("plan", func(*Request) (string, error) { return "a|b", nil }), "plan:a%7Cb"},
		{"function empty", Identify("plan", func(*Request) (string, error) { return "", nil }), "plan:"},
		{"function absent", Identify("plan", func(*Request) (string, error) { return "x", fmt.Errorf("no: %w", ErrAbsent) }), "plan:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := req()
			for range 2 {
				if got := mustIdentity(t, tc.id, r); got != tc.want {
					t.Errorf("%q, want %q", got, tc.want)
				}
			}
			// Without header, source and context it is absent, not a panic.
			if tc.id != ByRoute() {
				mustIdentity(t, tc.id, &Request{})
			}
		})
	}
}

func TestIdentityOfMatchesIdentify(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"42", "a b", strings.Repeat("x", 500), "{}|#%+"} {
		id := Identify("user", func(*Request) (string, error) { return value, nil })
		if got, want := mustIdentity(t, id, &Request{}), IdentityOf("user", value); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func TestIdentifierMisuseIsKept(t *testing.T) {
	t.Parallel()
	wrong := ByHeader("")
	for name, id := range map[string]*Identifier{
		"header empty":    wrong,
		"header no token": ByHeader("X Key"),
		"cookie no token": ByCookie("a=b"),
		"query":           ByQuery(""),
		"param":           ByParam(""),
		"value nil":       ByValue(nil),
		"value slice":     ByValue([]int{1}),
		"scheme":          Identify("a:b", func(*Request) (string, error) { return "", nil }),
		"scheme empty":    Identify("", func(*Request) (string, error) { return "", nil }),
		"function":        Identify("a", nil),
		"first of none":   FirstOf(),
		"first of nil":    FirstOf(ClientIP(), nil),
		"first of wrong":  FirstOf(ClientIP(), wrong),
		"combine none":    Combine(),
		"combine nil":     Combine(nil),
		"combine wrong":   Combine(wrong, ClientIP()),
		"nested":          FirstOf(Combine(FirstOf(wrong))),
		"combine clients": Combine(ClientIP(WithTrustedHops(0))),
	} {
		if !errors.Is(id.err, ErrConfig) {
			t.Errorf("%s: error %v, want ErrConfig", name, id.err)
		}
		if got, err := id.Identity(&Request{RemoteAddr: "192.0.2.1:1"}); got != "" || !errors.Is(err, ErrIdentity) {
			t.Errorf("%s: answers %q, %v", name, got, err)
		}
	}
	if ByHeader("X-Key").err != nil || FirstOf(ClientIP()).err != nil || Combine(ClientIP()).err != nil {
		t.Error("a right one has an error")
	}
}

func TestByValueKinds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		stored any
		want   string
	}{
		{"ann", "value.k:ann"},
		{"", "value.k:"},
		{nil, "value.k:"},
		{(*account)(nil), "value.k:"},
		{&account{5}, "value.k:account-5"},
		{typedString("bob"), "value.k:bob"},
		{typedUint(9), "value.k:9"},
		{int8(-3), "value.k:-3"},
		{uint64(1 << 63), "value.k:9223372036854775808"},
		{0, "value.k:0"},
		{http.StatusOK, "value.k:200"},
		{&url.URL{Path: "/a"}, "value.k:/a"},
	} {
		native := &Request{Source: nativeContext{values: map[any]any{"k": tc.stored}}}
		if got := mustIdentity(t, ByValue("k"), native); got != tc.want {
			t.Errorf("%T %v of the source: %q, want %q", tc.stored, tc.stored, got, tc.want)
		}
		//nolint:staticcheck // a string key is what gin and echo users have
		plain := &Request{Context: context.WithValue(context.Background(), "k", tc.stored), Source: nativeContext{}}
		if got := mustIdentity(t, ByValue("k"), plain); got != tc.want {
			t.Errorf("%T %v of the context: %q, want %q", tc.stored, tc.stored, got, tc.want)
		}
	}
	for _, stored := range []any{1.5, true, []byte("x"), struct{}{}, account{1}, errors.New("x")} {
		r := &Request{Source: nativeContext{values: map[any]any{"k": stored}}}
		_, err := ByValue("k").Identity(r)
		if !errors.Is(err, ErrIdentity) || errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), fmt.Sprintf("%T", stored)) {
			t.Errorf("%T: error %v", stored, err)
		}
	}
}

// TestNamesKeepBucketsApart: the same value under two names, or a name and a
// value cut differently, must never meet.
func TestNamesKeepBucketsApart(t *testing.T) {
	t.Parallel()
	r := func() *Request {
		return &Request{
			RemoteAddr: "192.0.2.1:1",
			RawQuery:   "a=b:c&a:b=c&ip=192.0.2.1",
			Route:      "192.0.2.1",
			Header:     headerOf("A", "v", "B", "v", "A+B", "v", "A|B", "v", "A#B", "v", "X-IP", "192.0.2.1", "Cookie", "a=v; A=v"),
			Source: nativeContext{
				params: map[string]string{"a": "v"},
				values: map[any]any{
					"a": "v", contextKey(1): "v", contextKey(2): "v", pointerKey{"a"}: "v",
					&pointerA: "v", typedString("a"): "v",
				},
			},
		}
	}
	seen := map[string]int{}
	for i, id := range []*Identifier{
		ByHeader("A"), ByHeader("B"), ByHeader("A+B"), ByHeader("A|B"), ByHeader("A#B"), ByCookie("a"), ByCookie("A"), ByQuery("a"), ByQuery("a:b"),
		ByParam("a"), ByValue("a"), ByValue(contextKey(1)), ByValue(contextKey(2)), ByValue(pointerKey{"a"}), ByValue(typedString("a")),
		ByRoute(), ClientIP(), ByQuery("ip"), ByHeader("X-IP"),
		Identify("user", func(*Request) (string, error) { return "192.0.2.1", nil }),
	} {
		got := mustIdentity(t, id, r())
		if strings.ContainsAny(got, "|{} \n+") {
			t.Errorf("identifier %d: %q holds a separator", i, got)
		}
		if other, twice := seen[got]; twice {
			t.Errorf("identifiers %d and %d are both %q", other, i, got)
		}
		seen[got] = i
	}
}

var pointerA = pointerKey{"a"}

func TestPointerKeysNameNoAddress(t *testing.T) {
	t.Parallel()
	number := 5
	for want, key := range map[string]any{
		"value.(*int)":                    &number,
		"value.(*traffik.pointerKey)&%7B": &pointerA,
	} {
		if got := ByValue(key).scheme; !strings.HasPrefix(got, want) || strings.Contains(got, "0x") {
			t.Errorf("%T: scheme %q", key, got)
		}
	}
}

// TestSecretsAreAlwaysHashed: keys show up in stores, dashboards and dumps.
func TestSecretsAreAlwaysHashed(t *testing.T) {
	t.Parallel()
	r := &Request{Header: headerOf("Authorization", "Bearer tok", "Cookie", "sid=tok")}
	got := mustIdentity(t, Combine(ByHeader("Authorization"), ByCookie("sid")), r)
	if strings.Contains(got, "tok") || strings.Count(got, "#") != 2 {
		t.Errorf("%q", got)
	}
}

func TestQueryIsReadAsNetURLDoes(t *testing.T) {
	t.Parallel()
	for _, query := range queriesInTest {
		values, _ := url.ParseQuery(query) // net/http, too, uses the pairs that could be read
		for _, name := range []string{"a", "b", "a b", "", "a;b"} {
			if got, want := queryValue(query, name), values.Get(name); got != want {
				t.Errorf("%q, name %q: %q, want %q", query, name, got, want)
			}
		}
	}
}

var queriesInTest = []string{
	"", "a", "a=", "a=1", "a=1&a=2", "a=&a=2", "b=1&a=2", "%61=1", "a=%zz&a=2", "%zz=1&a=2", "a;b=1&a=2", "a=1;b=2", "a=1;&a=2",
	"&&a=1", "a+b=c+d", "a==1", "=1", "a=%20%2B", "a&a=1", "A=1&a=2", "a%20b=1",
}

func FuzzQueryValue(f *testing.F) {
	for _, query := range queriesInTest {
		f.Add(query, "a")
	}
	f.Fuzz(func(t *testing.T, query, name string) {
		if strings.Count(query, "&") > 100 {
			return // net/url gives up on very many
		}
		values, _ := url.ParseQuery(query)
		if got, want := queryValue(query, name), values.Get(name); got != want {
			t.Errorf("%q, name %q: %q, want %q", query, name, got, want)
		}
	})
}

// TestCookieIsTheOneTheApplicationReads: where one is malformed or sent twice.
func TestCookieIsTheOneTheApplicationReads(t *testing.T) {
	t.Parallel()
	for _, lines := range [][]string{
		{"sid=a; sid=b"}, {"sid=a", "sid=b"}, {"sid=\x01x; sid=b"}, {`sid="q"`}, {"sid=; sid=b"}, {"sid"}, {"x=1; sid=a b"}, {" sid=a ;"}, {""},
	} {
		h := http.Header{"Cookie": lines}
		want := "cookie.sid:"
		if cookie, err := (&http.Request{Header: h}).Cookie("sid"); err == nil && cookie.Value != "" {
			want += escape.Hash(cookie.Value)
		}
		if got := mustIdentity(t, ByCookie("sid"), &Request{Header: h}); got != want {
			t.Errorf("%q: %q, want %q", lines, got, want)
		}
	}
}

func TestByRouteFailsWhereNoRouteIsKnown(t *testing.T) {
	t.Parallel()
	for _, id := range []*Identifier{ByRoute(), FirstOf(ByRoute(), ClientIP()), Combine(ClientIP(), ByRoute())} {
		got, err := id.Identity(&Request{RemoteAddr: "192.0.2.1:1"})
		if got != "" || !errors.Is(err, ErrIdentity) || errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "after the router has matched") {
			t.Errorf("%q, %v; want a failure with the cure", got, err)
		}
	}
}

// router is a Source whose router tells a route, "" for none. It may stand for another.
type router struct{ route string }

func (router) Param(string) string    { return "" }
func (router) Value(any) any          { return nil }
func (s router) Route() string        { return s.route }
func (s around) Unwrap() Source       { return s.Source }
func (s standIn) Param(string) string { return "" }

type (
	around  struct{ Source }
	standIn struct{ Source } // leads nowhere
)

// Requests that match no route have one identity for each defined method. Neither a path nor a
// method that a client makes up, nor a pattern, makes another.
func TestByRouteWhereNoRouteMatched(t *testing.T) {
	t.Parallel()
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"}
	want := map[string]string{"BREW": "route:|", "get": "route:|", "": "route:|", "|GET": "route:|", "GET+ip:192.0.2.1": "route:|"}
	for _, method := range methods {
		want[method] = "route:|" + method
	}
	for method, identity := range want {
		for _, source := range []Source{router{}, around{router{}}, around{around{router{}}}} {
			for _, path := range []string{"/", "/nope", "/a/b"} {
				r := &Request{Method: method, Path: path, Source: source}
				if got := mustIdentity(t, ByRoute(), r); got != identity {
					t.Errorf("%q %s: %q, want %q", method, path, got, identity)
				}
			}
		}
		if got := mustIdentity(t, Combine(ByRoute(), ClientIP()), &Request{Method: method, Source: router{}, RemoteAddr: "192.0.2.1:1"}); got != identity+"+ip:192.0.2.1" {
			t.Errorf("%q together: %q", method, got)
		}
	}
	for _, pattern := range []string{"|GET", "|", "GET", "/|GET", "%7CGET", "#GET"} {
		for _, r := range []*Request{{Method: "GET", Route: pattern}, {Method: "GET", Source: router{pattern}}} {
			if got := mustIdentity(t, ByRoute(), r); got == "route:|GET" || got == "route:|" {
				t.Errorf("the pattern %q counts as no route: %q", pattern, got)
			}
		}
	}
	for _, source := range []Source{nil, around{}, around{nil}, standIn{router{}}} {
		if got, err := ByRoute().Identity(&Request{Method: "GET", Source: source}); err == nil {
			t.Errorf("%T tells no route, and the identity is %q; want a failure", source, got)
		}
	}
}

func TestFirstOf(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	give := func(scheme, value string, err error) *Identifier {
		return Identify(scheme, func(*Request) (string, error) { return value, err })
	}
	a, absent, failing, exempt := give("a", "1", nil), give("b", "", nil), give("c", "", boom), give("d", "", fmt.Errorf("staff: %w", Exempted))
	for _, tc := range []struct {
		name string
		ids  []*Identifier
		want string
		err  error
	}{
		{"first", []*Identifier{a, failing}, "a:1", nil},
		{"passes over the absent", []*Identifier{absent, a}, "a:1", nil},
		{"all absent", []*Identifier{absent, absent}, "anonymous:", nil},
		{"failure is the answer", []*Identifier{absent, failing, a}, "", boom},
		{"exemption is the answer", []*Identifier{exempt, a}, "", Exempted},
		{"nested", []*Identifier{FirstOf(absent), a}, "a:1", nil},
		{"nested Combine", []*Identifier{Combine(absent, absent), a}, "b:+b:", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := FirstOf(tc.ids...).Identity(&Request{})
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, tc.want, tc.err)
			}
			if err != nil && strings.Count(err.Error(), ErrIdentity.Error()) > 1 {
				t.Errorf("wrapped twice: %v", err)
			}
		})
	}
	if _, err := FirstOf(exempt).Identity(&Request{}); err != Exempted { //nolint:errorlint // the documented value itself
		t.Errorf("%v, want Exempted itself", err)
	}
}

// TestCombineCannotBeForged: "+" is escaped in values, and parts keep their order.
func TestCombineCannotBeForged(t *testing.T) {
	t.Parallel()
	pair := func(a, b string) string {
		return mustIdentity(t, Combine(
			Identify("a", func(*Request) (string, error) { return a, nil }),
			Identify("b", func(*Request) (string, error) { return b, nil })), &Request{})
	}
	if got := pair("1", "2"); got != "a:1+b:2" {
		t.Errorf("%q", got)
	}
	if got := pair("", "2"); got != "a:+b:2" {
		t.Errorf("an absent part: %q", got)
	}
	seen := map[string][2]string{}
	values := []string{"", "1", "+", "1+b:2", "1+", "+b:", "b:2", "%2B", "1%2Bb:2", ":"}
	for _, a := range values {
		for _, b := range values {
			got := pair(a, b)
			if other, twice := seen[got]; twice {
				t.Errorf("%q and %q are both %q", other, [2]string{a, b}, got)
			}
			seen[got] = [2]string{a, b}
		}
	}
	if _, err := Combine(ClientIP(), Identify("x", func(*Request) (string, error) { return "", Exempted })).Identity(&Request{}); !errors.Is(err, Exempted) {
		t.Errorf("an exempted part: %v", err)
	}
}

func TestIdentityIsComputedOncePerRequest(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		value         string
		err           error
		perUse, total int // calls within one use, and after a nested use as well
	}{
		{"found", "42", nil, 1, 1},
		{"exempted", "", Exempted, 1, 1},
		{"absent", "", ErrAbsent, 1, 2},
		{"failed", "", errors.New("boom"), 1, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			user := Identify("user", func(*Request) (string, error) { calls++; return tc.value, tc.err })
			ids := []*Identifier{user, FirstOf(user, ClientIP()), Combine(user, ClientIP()), FirstOf(Combine(user))}
			outer, inner := &Request{RemoteAddr: "192.0.2.1:1"}, &Request{RemoteAddr: "192.0.2.1:1"}
			ask := func(r *Request) {
				for range 2 {
					for _, id := range ids {
						_, _ = id.Identity(r) // only the number of calls counts
					}
				}
			}
			ask(outer)
			if calls != tc.perUse {
				t.Errorf("%d calls in one use, want %d", calls, tc.perUse)
			}
			inner.Continue(outer)
			ask(inner)
			if calls != tc.total {
				t.Errorf("%d calls after a nested use, want %d", calls, tc.total)
			}
		})
	}
}

// TestNestedUseSeesWhatLaterMiddlewareKnows: an answer that may change is computed again,
// others are remembered.
func TestNestedUseSeesWhatLaterMiddlewareKnows(t *testing.T) {
	t.Parallel()
	header := http.Header{}
	outer := &Request{RemoteAddr: "192.0.2.1:1", Header: header, Source: nativeContext{values: map[any]any{"plan": "free"}}}
	inner := &Request{
		RemoteAddr: "203.0.113.5:1", // a middleware that rewrites the peer must not move the client
		Header:     header,
		Route:      "/users/:id",
		Source:     nativeContext{params: map[string]string{"id": "7"}, values: map[any]any{"plan": "gold", "user": "ann"}},
	}
	ip := ClientIP()
	user := FirstOf(ByValue("user"), ip)
	key := FirstOf(ByHeader("X-Key"), ip)
	param, plan, both := ByParam("id"), ByValue("plan"), Combine(ip, ByValue("plan"))
	check := func(r *Request, id *Identifier, want string) {
		t.Helper()
		for range 2 {
			if got := mustIdentity(t, id, r); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
	check(outer, user, "ip:192.0.2.1")
	check(outer, key, "ip:192.0.2.1")
	check(outer, param, "param.id:")
	check(outer, plan, "value.plan:free")
	check(outer, both, "ip:192.0.2.1+value.plan:free")
	if _, err := ByRoute().Identity(outer); err == nil {
		t.Error("a route is known too early")
	}
	header.Set("X-Key", "k")
	inner.Continue(outer)
	check(inner, user, "value.user:ann")
	check(inner, key, "header.x-key:"+escape.Hash("k"))
	check(inner, param, "param.id:7")
	check(inner, plan, "value.plan:gold")
	check(inner, both, "ip:192.0.2.1+value.plan:gold")
	check(inner, ByRoute(), "route:/users/:id")
	check(inner, ip, "ip:192.0.2.1")
	// An identity that was present stays, even if it is removed.
	header.Del("X-Key")
	last := &Request{Header: header}
	last.Continue(inner)
	check(last, key, "header.x-key:"+escape.Hash("k"))
	check(last, user, "ip:192.0.2.1")
	// The outer use again.
	check(outer, plan, "value.plan:free")
}

// TestPerUseAnswers: an answer for one use is not remembered for the next, nor is an answer
// that depends on it. Others are.
func TestPerUseAnswers(t *testing.T) {
	t.Parallel()
	calls := map[string]int{}
	user := Identify("user", func(*Request) (string, error) { calls["user"]++; return "ann", nil })
	room := Identify("room", func(r *Request) (string, error) {
		calls["room"]++
		r.PerUse()
		return r.Path, nil
	})
	derived := func(scheme string) *Identifier {
		return Identify(scheme, func(r *Request) (string, error) {
			calls[scheme]++
			return room.Identity(r)
		})
	}
	ids := []*Identifier{user, derived("first"), room, derived("second"), Combine(user, room)}
	connection := &Request{}
	for i, path := range []string{"red", "blue"} {
		message := connection.Detach()
		if i == 1 {
			message = new(Request)
			message.Continue(connection)
		}
		message.Path = path
		for range 2 {
			if got := mustIdentity(t, ids[4], message); got != "user:ann+room:"+path {
				t.Errorf("%q in %s", got, path)
			}
			for _, id := range ids[:4] {
				mustIdentity(t, id, message)
			}
		}
		connection = message
	}
	for name, want := range map[string]int{"user": 1, "room": 2, "first": 2, "second": 2} {
		if calls[name] != want {
			t.Errorf("%s was asked %d times, want %d", name, calls[name], want)
		}
	}
}

// TestManyUsesOfOneConnectionKeepOneMemo: every message of a long connection
// is a nested use; the memo must not grow with them.
func TestManyUsesOfOneConnectionKeepOneMemo(t *testing.T) {
	t.Parallel()
	outer := &Request{RemoteAddr: "192.0.2.1:1"}
	ids := make([]*Identifier, 6)
	for i := range ids {
		ids[i] = ByParam(fmt.Sprint(i))
	}
	for range 50 {
		message := &Request{}
		message.Continue(outer)
		for _, id := range ids {
			mustIdentity(t, id, message)
		}
	}
	if n := len(outer.memo().more) + len(outer.memo().identities); n > len(ids) {
		t.Errorf("%d memos for %d identifiers", n, len(ids))
	}
}

// TestMissingHeaderIsNotAWayAround: without the header all share one bucket.
func TestMissingHeaderIsNotAWayAround(t *testing.T) {
	t.Parallel()
	id := ByHeader("X-API-Key")
	one := mustIdentity(t, id, &Request{RemoteAddr: "192.0.2.1:1"})
	other := mustIdentity(t, id, &Request{RemoteAddr: "192.0.2.2:1", Header: headerOf("X-API-Key", "")})
	if one != other || one != "header.x-api-key:" {
		t.Errorf("%q and %q", one, other)
	}
}
