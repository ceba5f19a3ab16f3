package traffik

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// fullStore is a store of few keys whose throttles are named.
type fullStore struct {
	*Memory
	t         *testing.T
	clock     *handClock
	throttles map[string]*Throttle
}

func newFullStore(t *testing.T, maxKeys int) *fullStore {
	t.Helper()
	m, clock := newTestMemory(t, WithMaxKeys(maxKeys))
	return &fullStore{Memory: m, t: t, clock: clock, throttles: map[string]*Throttle{}}
}

// hit hits n units of client id of the throttle uid at rate.
func (f *fullStore) hit(uid, rate string, id int, n int64) Result {
	f.t.Helper()
	throttle := f.throttles[uid]
	if throttle == nil {
		throttle = MustNew(uid, rate, WithBackend(f.Memory))
		f.throttles[uid] = throttle
	}
	res, err := throttle.Key(uid+strconv.Itoa(id)).HitN(f.t.Context(), n)
	if err != nil {
		f.t.Fatal(err)
	}
	return res
}

// holds reports whether client id of uid is counted on a key of its own.
func (f *fullStore) holds(uid string, id int) bool {
	f.t.Helper()
	key := Key{Scope: f.throttles[uid].settings.Load().scope, ID: uid + strconv.Itoa(id)}
	states, _, err := f.ReadStates(f.t.Context(), []Key{key}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return len(states[0]) > 0
}

// lost counts the clients of uid below n that are no longer counted.
func (f *fullStore) lost(uid string, n int) (lost int) {
	f.t.Helper()
	for id := range n {
		if !f.holds(uid, id) {
			lost++
		}
	}
	return lost
}

// Fifty thousand clients that have used up one limit would fill the store five times. What
// other throttles counted before stays, and 5,000 newcomers of theirs are each counted on a
// key of their own.
func TestMemoryFloodBesideOtherThrottles(t *testing.T) {
	t.Parallel()
	f := newFullStore(t, 10_000)
	for id := range 1000 {
		f.hit("earlier", "10/h", id, 3)
	}
	for id := range 50_000 {
		f.hit("flood", "5/h", id, 5)
	}
	if lost := f.lost("earlier", 1000); lost > 0 {
		t.Errorf("the flood of another throttle took %d of 1000 records, want none", lost)
	}
	in := 0
	for id := range 5000 {
		if res := f.hit("honest", "100/min", id, 1); res.Allowed && res.Remaining == 99 {
			in++
		}
		f.hit("flood", "5/h", 50_000+id, 5)
	}
	if in < 5000 {
		t.Errorf("%d of 5000 newcomers of another throttle are counted on a key of their own, want all", in)
	}
	if lost := f.lost("earlier", 1000); lost > 0 {
		t.Errorf("%d of 1000 records are gone with flood and newcomers, want none", lost)
	}
}

// A limit of once a day with three times as many visitors as keys fills the store with keys
// that are used up. Who is counted stays counted, the late ones share counters, and
// the other throttles notice nothing.
func TestMemoryOnceADayWithMoreVisitorsThanKeys(t *testing.T) {
	t.Parallel()
	const keys, visitors, others = 10_000, 30_000, 2000
	f := newFullStore(t, keys)
	admitted := 0
	for id := range visitors {
		if f.hit("daily", "1/d", id, 1).Allowed {
			admitted++
		}
	}
	if most := keys + keys/keysPerOverflow; admitted > most || admitted < keys*9/10 {
		t.Errorf("%d of %d visitors were admitted with %d keys, want them and one for each overflow counter, %d at most", admitted, visitors, keys, most)
	}
	for id := range others {
		if res := f.hit("other", "100/min", id, 1); !res.Allowed || res.Remaining != 99 {
			t.Fatalf("newcomer %d of another throttle got %+v, want a key of its own", id, res.Decision)
		}
	}
	again := 0
	for id := range keys * 9 / 10 {
		if f.hit("daily", "1/d", id, 1).Allowed {
			again++
		}
	}
	// What the other throttle took starts afresh.
	if again > others {
		t.Errorf("%d early visitors were admitted twice, want %d at most", again, others)
	}
}

// Clients of a limit per minute come and go beside those of a limit of once a day, and both
// together need more keys than there are. Each limit has its share: all newcomers of the
// minute are counted on keys of their own, and hardly a record of the day is lost for them.
func TestMemoryMinutesBesideADay(t *testing.T) {
	t.Parallel()
	const minutes, perMinute, daily = 60, 1200, 1600
	f := newFullStore(t, 2000)
	rnd := rand.New(rand.NewPCG(3, 4))
	var counted []int
	shared := 0
	for i := range minutes * perMinute {
		id := i/perMinute*perMinute/2 + rnd.IntN(perMinute)
		f.hit("minute", "10/min", id, 1)
		if !f.holds("minute", id) {
			shared++
		}
		if from, to := daily*i/(minutes*perMinute), daily*(i+1)/(minutes*perMinute); from < to {
			f.hit("day", "1/d", from, 1)
			if f.holds("day", from) {
				counted = append(counted, from)
			}
		}
		f.clock.advance(time.Minute / perMinute)
	}
	lost := 0
	for _, id := range counted {
		if !f.holds("day", id) {
			lost++
		}
	}
	t.Logf("%d hits per minute shared counters; of %d records of the day %d are lost", shared, len(counted), lost)
	if shared > 0 || len(counted) < 1000 || lost*50 > len(counted) {
		t.Errorf("%d hits per minute shared counters, %d records of the day, %d of them lost; want none, 1000 at least, and 2%% at most", shared, len(counted), lost)
	}
}

// A throttle that alone is busy has the store to itself, however many others have a few keys
// there.
func TestMemoryBusyThrottleBesideQuietOnes(t *testing.T) {
	t.Parallel()
	f := newFullStore(t, 10_000)
	for other := range 15 {
		for id := range 10 {
			f.hit("quiet-"+strconv.Itoa(other), "10/h", id, 1)
		}
	}
	const clients = 5000
	for id := range clients {
		f.hit("busy", "1/h", id, 1)
	}
	if lost := f.lost("busy", clients); lost > 0 {
		t.Errorf("%d of %d clients of the busy throttle are not counted on a key of their own; 5000 fit", lost, clients)
	}
}

// What it takes to get rid of one's own record, by requests under throw-away identities in a
// store of 1000 keys. The attacker is told when the record is gone. The first time takes as
// many requests as it takes to fill the store with keys that are used as much as that one.
// After that it takes as many as the sample has to miss it for.
func TestMemoryPriceOfWashingOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, rate string
		strategy   Strategy
		// drawn is taken from the record that is to go, each from a throw-away one, and all
		// there is from the first usedUp of those.
		drawn, each int64
		usedUp      int
		first, then int // requests to get rid of it, at least, the latter on average
	}{
		{"one unit of two", "2/h", FixedWindow{}, 1, 1, 0, 500, 500},
		{"one unit of two in a bucket", "2/h", TokenBucket{}, 1, 1, 0, 500, 500},
		{"most keys used up", "2/h", FixedWindow{}, 1, 1, 950, 1900, 30},
		{"throw-away keys with less left", "5/h", FixedWindow{}, 3, 4, 0, 2000, 100},
	} {
		f := newFullStore(t, 1000)
		throttle := MustNew("logins", c.rate, WithBackend(f.Memory), WithStrategy(c.strategy))
		f.throttles["logins"] = throttle
		requests, id := 0, 1
		throwAway := func(units int64) {
			f.hit("logins", c.rate, id, units)
			id++
			requests += int(units)
			f.clock.advance(time.Microsecond)
		}
		f.hit("logins", c.rate, 0, c.drawn)
		for range c.usedUp {
			throwAway(throttle.settings.Load().rate.Limit())
		}
		const times = 20
		var price [times]int
		for i := range price {
			for f.holds("logins", 0) {
				throwAway(c.each)
			}
			price[i] = requests
			for !f.holds("logins", 0) { // it may overflow first
				f.hit("logins", c.rate, 0, c.drawn)
				throwAway(c.each)
			}
		}
		then := (price[times-1] - price[0]) / (times - 1)
		t.Logf("%s: %d requests at first, then %d each time", c.name, price[0], then)
		if price[0] < c.first || then < c.then {
			t.Errorf("%s: a record was washed out by %d requests at first, then %d each time, want %d and %d at least", c.name, price[0], then, c.first, c.then)
		}
	}
}

// Forty throttles fill a store, one of them twice its share. Newcomers of others take from that one
// alone, also where a sample misses it.
func TestMemoryNoneBelowItsShare(t *testing.T) {
	t.Parallel()
	const keys, throttles, each = 1000, 40, 23
	f := newFullStore(t, keys)
	for i := range throttles {
		for id := range each {
			f.hit("t"+strconv.Itoa(i), "1/h", id, 1)
		}
	}
	for id := each; f.Len() < keys; id++ {
		f.hit("t0", "1/h", id, 1)
	}
	for id := range 200 {
		f.hit("new", "1/h", id, 1)
	}
	for i := 1; i < throttles; i++ {
		if lost := f.lost("t"+strconv.Itoa(i), each); lost > 0 {
			t.Errorf("throttle %d within its share lost %d of %d keys", i, lost, each)
		}
	}
}

// Four newcomers of one Take count what the ones before them take.
func TestMemoryNewcomersOfOneTakeShareOut(t *testing.T) {
	t.Parallel()
	f := newFullStore(t, 12)
	for uid, n := range map[string]int{"a": 5, "b": 4, "c": 3} {
		for id := range n {
			f.hit(uid, "1/h", id, 1)
		}
	}
	var gate []Limiter
	for _, uid := range []string{"w", "x", "y", "z"} {
		gate = append(gate, MustNew(uid, "1/h", WithBackend(f.Memory)))
	}
	if _, err := All(gate...).Key("k").Hit(t.Context()); err != nil {
		t.Fatal(err)
	}
	stats := f.Stats()
	for _, uid := range []string{"a", "b", "c"} {
		if n := stats.Throttles[uid].Keys; n < 3 {
			t.Errorf("%d keys of %s are left, want 3, its share", n, uid)
		}
	}
	if stats.Keys != 12 {
		t.Errorf("%d keys, want 12", stats.Keys)
	}
	f.check(t)
}
