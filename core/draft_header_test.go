package traffik

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Two uids never have one name, however they are escaped or cut.
func TestDraftNamesDontCollide(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1100)
	uids := []string{
		"日", "本", "日本", "%E6%97%A5", "%25E6%2597%25A5", "?", "???", "%3F", "a", "A", `a"`, `a\"`, `a\`, `"`, "a\tb", "a\nb", "a b", "\xff", "\xfe", "é", "e\u0301",
		long, long + "x", long + "y", long[:1000], long[:1001], strings.Repeat("日", 400), strings.Repeat("日", 399) + "本",
	}
	seen := map[string]string{}
	for _, uid := range uids {
		name := sfString(uid)
		if other, taken := seen[name]; taken {
			t.Errorf("%.20q and %.20q are both called %.40s", uid, other, name)
		}
		seen[name] = uid
		for i := range len(name) {
			if name[i] < ' ' || name[i] > '~' {
				t.Fatalf("%.20q: the name has the byte %#x", uid, name[i])
			}
		}
		if len(name) > 1024+2 {
			t.Errorf("%.20q: the name has %d characters, want at most 1024", uid, len(name)-2)
		}
	}
	wantEqual(t, sfString("api:items"), `"api:items"`)
	wantEqual(t, sfString(`a"b\c`), `"a\"b\\c"`)
	wantEqual(t, sfString("日 100%"), `"%E6%97%A5 100%25"`)
	wantEqual(t, sfString(long[:1000]), `"`+long[:1000]+`"`)
}

func wantEqual(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// draft-ietf-httpapi-ratelimit-headers-11, section 4.1.2: t is the time within which
// the client can use no more than r. A bucket is not waited for until it is full.
func TestDraftHeaders11EffectiveWindow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		strategy Strategy
		rate     string
		hits     int
		ten      string
		eleven   string
	}{
		{"a window ends when it ends", FixedWindow{}, "100/min", 40, "r=60;t=60", "r=60;t=60"},
		{"a full bucket lasts for a period", TokenBucket{}, "100/min", 1, "r=99;t=1", "r=99;t=60"},
		{"a burst above the rate lasts longer", TokenBucket{Burst: 200}, "100/min", 1, "r=199;t=1", "r=199;t=120"},
		{"half a bucket", TokenBucket{}, "100/min", 50, "r=50;t=30", "r=50;t=30"},
		{"one left", TokenBucket{}, "100/min", 99, "r=1;t=60", "r=1;t=1"},
		{"none left", TokenBucket{}, "10/min", 10, "r=0;t=60", "r=0;t=6"},
		{"evenly spaced", GCRA{}, "10/min", 1, "r=0;t=6", "r=0;t=6"},
		{"denied", TokenBucket{}, "10/min", 11, "r=0;t=6", "r=0;t=6"},
		{"denied by a window", FixedWindow{}, "10/min", 11, "r=0;t=60", "r=0;t=60"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for set, want := range map[HeaderSet]string{DraftHeaders10: c.ten, DraftHeaders11: c.eleven} {
				m, clock := newTestMemory(t)
				clock.now = testEpoch - testEpoch%60_000_000
				throttle := MustNew("one", c.rate, WithBackend(m), WithStrategy(c.strategy), WithHeaders(set))
				h := answer(t, throttle, c.hits, "GET").header
				wantHeader(t, h, "RateLimit", fmt.Sprintf(`"one";%s`, want))
				if rate := throttle.settings.Load().rate; rate.Period() == time.Minute {
					wantHeader(t, h, "RateLimit-Policy", fmt.Sprintf(`"one";q=%d;w=60`, capacityOf(c.strategy, rate)))
				}
			}
		})
	}
}

func capacityOf(s Strategy, rate Rate) int64 {
	_, dec := s.Decide(nil, nil, &Draw{Rate: rate, Now: testEpoch})
	return dec.Limit
}
