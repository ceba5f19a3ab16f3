package traffik_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/backendtest"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// Cooldown admits one draw of up to the limit, and then none until a period has
// passed since it.
//
// State: a tag, when the draw was made and how many of its units are out.
type Cooldown struct{}

const (
	cooldownTag   = 'c'
	cooldownBytes = 1 + 8 + 8
)

// ID names the algorithm and its layout, and no parameter.
func (Cooldown) ID() string { return "example.com/cooldown.1" }

// MaxStateBytes lets New find out whether a backend can store it.
func (Cooldown) MaxStateBytes(traffik.Rate) int { return cooldownBytes }

// Decide reads no clock, keeps nothing and allocates nothing.
func (Cooldown) Decide(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	at, n := readCooldown(state)
	write := n > 0 && d.Now < at // the clock has stepped back: repair the state
	if write {
		at = d.Now
	}
	wait := at.Add(d.Rate.Period()).Sub(d.Now)
	if wait <= 0 {
		n = 0
	}
	dec := traffik.Decision{Allowed: true, Limit: d.Rate.Limit(), At: d.Now}
	switch {
	case d.Cost > dec.Limit && !d.Force:
		dec.Allowed, dec.RetryAfter = false, traffik.Never
	case d.Cost > 0 && n > 0 && !d.Force:
		dec.Allowed, dec.RetryAfter = false, wait
	case d.Cost > 0:
		at, n, wait, write = d.Now, min(n+d.Cost, traffik.MaxUnits), d.Rate.Period(), true
	case d.Cost < 0:
		if d.TakenAt == at || d.Now == at && (d.TakenAt == 0 || d.TakenAt > d.Now) {
			n = max(0, n+d.Cost)
		}
		write = true
	}
	if n == 0 {
		dec.Remaining = dec.Limit
		return dst, dec // untouched: nothing to keep
	}
	dec.ResetAfter = wait
	if write {
		dst = append(dst, cooldownTag)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(at))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(n))
	}
	return dst, dec
}

// readCooldown takes any bytes: what it can't read is untouched.
func readCooldown(state []byte) (at traffik.Instant, n int64) {
	if len(state) != cooldownBytes || state[0] != cooldownTag {
		return 0, 0
	}
	at = traffik.Instant(binary.LittleEndian.Uint64(state[1:]))
	n = int64(binary.LittleEndian.Uint64(state[9:]))
	if at < 0 || at > traffik.MaxUnits || n < 0 || n > traffik.MaxUnits {
		return 0, 0
	}
	return at, n
}

// A strategy of one's own: a mail to reset the password, once in five minutes
// since the last one.
func ExampleStrategy() {
	clock := traffiktest.NewClock(time.Unix(1_790_000_000, 0))
	backend, err := traffik.NewMemory(traffik.WithClock(clock))
	if err != nil {
		panic(err)
	}
	mails, err := traffik.New("mails", "1/5min", traffik.WithBackend(backend), traffik.WithStrategy(Cooldown{}))
	if err != nil {
		panic(err)
	}
	for range 3 {
		res, err := mails.Key("user:42").Hit(context.Background())
		fmt.Println(res.Allowed, res.RetryAfter, err)
		clock.Advance(3 * time.Minute)
	}
	// Output:
	// true 0s <nil>
	// false 2m0s <nil>
	// true 0s <nil>
}

func TestCooldownKeepsThePromises(t *testing.T) {
	t.Parallel()
	backendtest.RunStrategy(t, Cooldown{})
}
