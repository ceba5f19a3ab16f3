package traffik_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

func ExampleNew() {
	items, err := traffik.New("example:items", "2/min")
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		res, err := items.Key("user:42").Hit(context.Background())
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(res.Outcome, res.Remaining)
	}
	// Output:
	// admitted 1
	// admitted 0
	// denied 0
}

func ExampleNew_configurationError() {
	_, err := traffik.New("example:bad", "5s", traffik.WithCost(-1))
	fmt.Println(errors.Is(err, traffik.ErrRate), errors.Is(err, traffik.ErrConfig))
	// Output: true true
}

func ExampleParseRate() {
	for _, text := range []string{"100/min", "5 / 10s", "100 per 5 minutes", "1/w", "unlimited"} {
		rate, err := traffik.ParseRate(text)
		fmt.Println(rate, err)
	}
	// Output:
	// 100/min <nil>
	// 5/10s <nil>
	// 100/5min <nil>
	// 1/w <nil>
	// unlimited <nil>
}

// Two limits over one request: both are charged or neither.
func ExampleAll() {
	burst := traffik.MustNew("example:burst", "1/d")
	daily := traffik.MustNew("example:daily", "100/d")
	gate := traffik.All(burst, daily)
	for range 2 {
		verdict, err := gate.Key("user:42").Hit(context.Background())
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(verdict.Allowed(), verdict.Results()[1].Remaining)
	}
	// Output:
	// true 99
	// false 99
}

// Refund a charge when the work that it paid for did not happen.
func ExampleThrottle_Refund() {
	mails := traffik.MustNew("example:mails", "10/d")
	subject := mails.Key("user:42")
	res, _ := subject.HitN(context.Background(), 3)
	fmt.Println(res.Remaining)
	if err := mails.Refund(context.Background(), res, 3); err != nil {
		fmt.Println(err)
		return
	}
	stat, _ := subject.Stat(context.Background())
	fmt.Println(stat.Remaining)
	// Output:
	// 7
	// 10
}

// A manual clock makes limits testable without waiting.
func ExampleWithClock() {
	clock := traffiktest.NewClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	backend, _ := traffik.NewMemory(traffik.WithClock(clock))
	logins := traffik.MustNew("logins", "1/min", traffik.WithBackend(backend), traffik.WithStrategy(traffik.GCRA{}))
	subject := logins.Key("user:42")
	for range 3 {
		res, _ := subject.Hit(context.Background())
		fmt.Println(res.Outcome, res.RetryAfter)
		clock.Advance(30 * time.Second)
	}
	// Output:
	// admitted 0s
	// denied 30s
	// admitted 0s
}

// A user, otherwise the address. Requests that carry neither share one counter.
func ExampleFirstOf() {
	user := traffik.Identify("user", func(r *traffik.Request) (string, error) {
		if name := r.Header.Get("X-User"); name != "" {
			return name, nil
		}
		return "", traffik.ErrAbsent
	})
	who := traffik.FirstOf(user, traffik.ClientIP())
	for _, name := range []string{"alice", "192.0.2.1", ""} {
		header := http.Header{}
		if name != "" {
			header.Set("X-User", name)
		}
		identity, err := who.Identity(&traffik.Request{RemoteAddr: "192.0.2.1:5000", Header: header})
		fmt.Println(identity, err)
	}
	// Output:
	// user:alice <nil>
	// user:192.0.2.1 <nil>
	// ip:192.0.2.1 <nil>
}

// Report-only limits count as if they were enforced and block nobody.
func ExampleWithReportOnly() {
	trial := traffik.MustNew("example:trial", "1/d", traffik.WithReportOnly())
	for range 2 {
		res, _ := trial.Key("user:42").Hit(context.Background())
		fmt.Println(res.Allowed, res.Outcome)
	}
	// Output:
	// true admitted
	// true denied
}

func ExampleSubject_Describe() {
	bucket := traffik.MustNew("example:bucket", "10/d", traffik.WithStrategy(traffik.TokenBucket{Burst: 20}))
	_, _ = bucket.Key("user:42").HitN(context.Background(), 5)
	info, err := bucket.Key("user:42").Describe(context.Background())
	if b, ok := info.(traffik.BucketInfo); ok {
		fmt.Println(b.Capacity, b.Level, b.Tokens, err)
	}
	// Output: 20 5 15 <nil>
}
