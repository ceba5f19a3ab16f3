package websockets

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
)

// floods are the modes that keep a connection whose peer floods it. No message
// can be held for as long as a window lasts.
var floods = map[string]traffikws.Mode{
	"notify": traffikws.Notify(), "drop": traffikws.Drop(), "delay": traffikws.Delay(time.Millisecond),
}

// A flood of 100,000 messages against 100 a second: exactly the envelope is
// delivered, with no more than a notice for each second of real time, nothing
// piles up in memory, and another connection has its answers while the flood goes
// on. One flood after the other and beside no other test: each looks at the heap.
func TestFlood(t *testing.T) {
	for name, handler := range servers {
		for modeName, mode := range floods {
			t.Run(name+" "+modeName, func(t *testing.T) {
				limit, clock := newLimit(t, "100/s", traffik.WithIdentifier(traffikws.ByConnection()))
				server := serve(t, handler(limit, traffikws.WithMode(mode)))
				flooder, bystander := dialWith(t, server, "", nil), dial(t, server) // the flood is not compressed
				var heap [10]uint64
				notices, start := 0, time.Now()
				for second := range heap {
					notices += flood(t, flooder, bystander, 10_000)
					heap[second] = heapInUse()
					clock.Advance(time.Second)
				}
				least, most := 1, 1+int(time.Since(start)/traffikws.NoticeInterval)
				if mode == traffikws.Drop() {
					least, most = 0, 0
				}
				if notices < least || notices > most {
					t.Errorf("%d notices, want %d to %d", notices, least, most)
				}
				testHeapIsFlat(t, heap[0], heap[5:])
			})
		}
		for modeName, mode := range map[string]traffikws.Mode{"notify": traffikws.Notify(), "delay": traffikws.Delay(0)} {
			t.Run(name+" "+modeName+" in real time", func(t *testing.T) {
				testFloodInRealTime(t, handler, mode)
			})
		}
	}
}

// testHeapIsFlat compares looks at the heap with the first. What piles up stays; a
// compressor in use at one of the looks does not.
func testHeapIsFlat(t *testing.T, first uint64, later []uint64) {
	t.Helper()
	if grown := int64(slices.Min(later)) - int64(first); grown > 3<<20 {
		t.Errorf("the heap has grown by %d bytes: %d, then %v", grown, first, later)
	}
}

// testFloodInRealTime floods for two seconds of the real clock. Under Delay the
// peer is slowed, and what it has not got rid of goes with it.
func testFloodInRealTime(t *testing.T, handler func(traffik.Limiter, ...traffikws.Option) http.HandlerFunc, mode traffikws.Mode) {
	t.Helper()
	const lasts, rate, burst = 2 * time.Second, 100, 100
	limit := traffik.MustNew("flood", "100/s", traffik.WithBackend(mustMemory(t)),
		traffik.WithStrategy(traffik.TokenBucket{}), traffik.WithIdentifier(traffikws.ByConnection()))
	const flood = "0123456789"
	var came arrivals
	var delivered atomic.Int64 // to the server, whose echoes may be on their way at the end
	echoed := traffik.MustNew("echoed", "1000000000/s", traffik.WithBackend(mustMemory(t)), traffik.WithCostFunc(func(r *traffik.Request) (int64, error) {
		if m, _ := traffikws.MessageOf(r); string(m.Data) == flood {
			delivered.Add(1)
		}
		return 1, nil
	}))
	server := serve(t, handler(limit, traffikws.WithMode(mode), traffikws.WithOutbound(echoed, traffikws.Notify()),
		traffikws.WithLimitFunc(func(m traffikws.Message) traffik.Limiter {
			if string(m.Data) == flood {
				came.note()
			}
			return limit
		})))
	flooder, bystander := dialWith(t, server, "", nil), dial(t, server)
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	start, done := time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		for flooder.ws.Write(ctx, websocket.MessageText, []byte(flood)) == nil {
		}
	}()
	pulse := pulseUntil(ctx)
	heap := []uint64{heapInUse()}
	for i := 0; ctx.Err() == nil; i++ {
		asked := pulse.steadily()
		bystander.say(fmt.Sprint(i))
		if got := bystander.hear(); got != fmt.Sprint(i) {
			t.Errorf("the bystander heard %q, want %d", got, i)
		}
		if took := pulse.steadily() - asked; took > time.Second {
			t.Errorf("the bystander heard %d after %v", i, took)
		}
		heap = append(heap, heapInUse())
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // a real server at real time
	}
	<-done
	_ = flooder.ws.CloseNow() // the write that was broken off may have done so
	notices := 0
	for message := range flooder.heard {
		if strings.Contains(message, "rate_limit") {
			notices++
		}
	}
	passed := time.Since(start)
	// Nothing is lost while messages come faster than a bucket fills, so the floor is close.
	least, most := burst+int(came.steadily().Seconds()*rate)*8/10, burst+int(passed.Seconds()*rate)+1
	if n := int(delivered.Load()); n < least || n > most {
		t.Errorf("%d messages were delivered in %v, want %d to %d", n, passed, least, most)
	}
	if most := 1 + int(passed/traffikws.NoticeInterval); notices > most {
		t.Errorf("%d notices in %v, want at most %d", notices, passed, most)
	}
	testHeapIsFlat(t, heap[0], heap[len(heap)/2:])
}

// arrivals are events that come one soon after the other, as the messages of a flood. The zero value has seen none.
type arrivals struct {
	mu    sync.Mutex
	last  time.Time
	spent time.Duration
}

func (a *arrivals) note() {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := time.Now()
	if gap := at.Sub(a.last); gap < 100*time.Millisecond { // longer if the machine stood still
		a.spent += gap
	}
	a.last = at
}

// steadily returns for how long they have come so.
func (a *arrivals) steadily() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.spent
}

// pulseUntil tells the time of this process, which stands still with its machine.
func pulseUntil(ctx context.Context) *arrivals {
	pulse := new(arrivals)
	go func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			pulse.note()
			<-ticker.C
		}
	}()
	return pulse
}

// flood sends at least n messages, and goes on until the bystander has had ten
// messages of its own echoed. Then it counts what the flooder has heard, and
// returns how many of it were notices.
func flood(t *testing.T, flooder, bystander *client, n int) (notices int) {
	t.Helper()
	var served atomic.Bool
	sent := make(chan int)
	go func() {
		i := 0
		defer func() { sent <- i }()
		for ; i < n || !served.Load(); i++ {
			if err := flooder.ws.Write(t.Context(), websocket.MessageText, []byte("0123456789")); err != nil {
				t.Errorf("flooding: %v", err)
				return
			}
		}
	}()
	echoes := 0
	listen := func() {
		for {
			select {
			case message := <-flooder.heard:
				if strings.Contains(message, "rate_limit") {
					notices++
				} else {
					echoes++
				}
			default:
				return
			}
		}
	}
	for i := range 10 {
		bystander.say(fmt.Sprint(i))
		if got := bystander.hear(); got != fmt.Sprint(i) {
			t.Errorf("the bystander heard %q, want %d", got, i)
		}
	}
	served.Store(true)
	if got := <-sent; got < n {
		t.Errorf("%d messages were sent", got)
	}
	flooder.ping()
	listen()
	if echoes != 100 {
		t.Errorf("%d messages were delivered, want 100", echoes)
	}
	return notices
}

func heapInUse() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
