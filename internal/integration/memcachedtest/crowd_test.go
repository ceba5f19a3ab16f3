package memcachedtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// crowdEnv carries a member's part in the crowd to the process that plays it.
const crowdEnv = "TRAFFIK_TEST_CROWD"

type part struct {
	Addr, Namespace string
	Duration        time.Duration
	Limited         bool
}

// tally is what a member saw.
type tally struct {
	Admitted, Denied, Contended int64
	First, Last                 traffik.Instant // readings of its clock for admitted draws
}

const (
	crowdMembers = 4
	crowdBurst   = 10
	crowdLimit   = 40 // a second, less than a crowd asks for on a slow machine
	crowdPeriod  = time.Second
	// plenty is more than a crowd can draw, so that every draw is a write.
	plenty = 1_000_000_000
)

// op is the draw that all members repeat.
func (p part) op() traffik.Op {
	op := opOf("hot", 1)
	op.Draw.Rate = traffik.Per(plenty, forever)
	if p.Limited {
		op.Strategy = traffik.TokenBucket{Burst: crowdBurst}
		op.Draw.Rate = traffik.Per(crowdLimit, crowdPeriod)
	}
	return op
}

// Four processes with sixteen goroutines each, all at one key: what they are
// given together stays in the bucket's envelope over the time between the first
// draw and the last.
func TestCrowdStaysInTheEnvelope(t *testing.T) {
	t.Parallel()
	sum := crowd(t, part{Addr: servers.Memcached(t).Addr, Namespace: namespace(t), Limited: true})
	if sum.Denied == 0 {
		t.Error("nobody was denied")
	}
	span := sum.Last.Sub(sum.First)
	most := crowdBurst + int64(span*crowdLimit/crowdPeriod)
	if sum.Admitted > most {
		t.Errorf("%d admitted in %v, at most %d", sum.Admitted, span, most)
	}
	t.Logf("%d of %d admitted in %v", sum.Admitted, most, span)
}

// The same crowd where every draw is written, and so collides: in the end as
// much is counted as was admitted.
func TestCrowdLosesNothing(t *testing.T) {
	t.Parallel()
	s := servers.Memcached(t)
	p := part{Addr: s.Addr, Namespace: namespace(t)}
	sum := crowd(t, p)
	look := p.op()
	look.Draw.Cost = 0
	b := newBackend(t, newClient(t, s), traffikmemcached.WithNamespace(p.Namespace))
	if used := plenty - take(t, b, look)[0].Remaining; used != sum.Admitted {
		t.Errorf("%d were admitted and %d are counted", sum.Admitted, used)
	}
}

// crowd lets the members play their part and returns what they saw together.
func crowd(t *testing.T, p part) (sum tally) {
	t.Helper()
	p.Duration = 5 * time.Second
	if testing.Short() {
		p.Duration = time.Second
	}
	var members [crowdMembers]tally
	var wg sync.WaitGroup
	for i := range members {
		wg.Go(func() { members[i] = play(t, p) })
	}
	wg.Wait()
	for i, m := range members {
		t.Logf("process %d: %+v", i, m)
		if m.Admitted == 0 {
			t.Errorf("process %d was never admitted", i)
		}
		sum.Admitted += m.Admitted
		sum.Denied += m.Denied
		if i == 0 || m.First < sum.First {
			sum.First = m.First
		}
		sum.Last = max(sum.Last, m.Last)
	}
	return sum
}

// play runs a member in a process of its own.
func play(t *testing.T, p part) (result tally) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Error(err)
		return tally{}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemberOfTheCrowd$") //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), crowdEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v: %s", err, out)
		return tally{}
	}
	for line := range bytes.Lines(out) {
		if json.Unmarshal(line, &result) == nil && result.Admitted > 0 {
			return result
		}
	}
	t.Errorf("no tally in %q", out)
	return tally{}
}

func TestMemberOfTheCrowd(t *testing.T) {
	text := os.Getenv(crowdEnv)
	if text == "" {
		return // only TestCrowdOfProcesses runs it, in processes of their own
	}
	var p part
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	b := newBackend(t, clientOf(t, p.Addr), traffikmemcached.WithNamespace(p.Namespace))
	end := time.Now().Add(p.Duration)
	var mu sync.Mutex
	var sum tally
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for time.Now().Before(end) {
				out := make([]traffik.Decision, 1)
				err := b.Take(t.Context(), []traffik.Op{p.op()}, out)
				mu.Lock()
				sum.count(t, out[0], err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(sum); err != nil {
		t.Error(err)
	}
}

func (s *tally) count(t *testing.T, dec traffik.Decision, err error) {
	t.Helper()
	switch {
	case errors.Is(err, traffik.ErrContention):
		s.Contended++
	case err != nil:
		t.Error(err)
	case !dec.Allowed:
		s.Denied++
	default:
		s.Admitted++
		if s.First == 0 || dec.At < s.First {
			s.First = dec.At
		}
		s.Last = max(s.Last, dec.At)
	}
}
