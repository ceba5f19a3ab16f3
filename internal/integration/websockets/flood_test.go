package websockets

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
			t.Run(name+" "+modeName+" at a pace", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testFloodAtAPace(t, handler, mode) })
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

// testFloodAtAPace floods with 5000 messages a second for two seconds of a bubble, or with
// as many as are taken: under Delay the peer is slowed.
func testFloodAtAPace(t *testing.T, handler func(traffik.Limiter, ...traffikws.Option) http.HandlerFunc, mode traffikws.Mode) {
	t.Helper()
	const lasts, rate, burst = 2 * time.Second, 100, 100
	limit := bubbleLimit(t, "100/s", traffik.WithStrategy(traffik.TokenBucket{}), traffik.WithIdentifier(traffikws.ByConnection()))
	server := serveInMemory(t, handler(limit, traffikws.WithMode(mode)))
	flooder, bystander := dialWith(t, server, "", nil), dial(t, server)
	start := time.Now()
	var flooding sync.WaitGroup
	flooding.Go(func() {
		for time.Since(start) < lasts {
			if err := flooder.ws.Write(t.Context(), websocket.MessageText, []byte("0123456789")); err != nil {
				t.Errorf("flooding: %v", err)
				return
			}
			time.Sleep(time.Second / 5000) //nolint:forbidigo // the clock of the bubble
		}
	})
	heap := []uint64{heapInUse()}
	for i := 0; time.Since(start) < lasts; i++ {
		asked := time.Now()
		bystander.say(fmt.Sprint(i))
		if got, took := bystander.hear(), time.Since(asked); got != fmt.Sprint(i) || took != 0 {
			t.Errorf("the bystander heard %q after %v, want %d at once", got, took, i)
		}
		heap = append(heap, heapInUse())
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the clock of the bubble
	}
	flooding.Wait()
	synctest.Wait()
	passed := time.Since(start)
	notices, delivered := flooder.count()
	// A bucket is never full while more comes than it refills.
	if want := burst + int(passed.Seconds()*rate); delivered < want-1 || delivered > want {
		t.Errorf("%d messages were delivered in %v, want %d", delivered, passed, want)
	}
	if most := 1 + int(passed/traffikws.NoticeInterval); notices > most {
		t.Errorf("%d notices in %v, want at most %d", notices, passed, most)
	}
	testHeapIsFlat(t, heap[0], heap[len(heap)/2:])
}

// count tells apart what has been heard so far.
func (c *client) count() (notices, echoes int) {
	for {
		select {
		case message := <-c.heard:
			if strings.Contains(message, "rate_limit") {
				notices++
			} else {
				echoes++
			}
		default:
			return notices, echoes
		}
	}
}

// flood sends at least n messages, and goes on until the bystander has had ten
// messages of its own echoed. Then it counts what the flooder has heard, and
// returns how many of it were notices.
func flood(t *testing.T, flooder, bystander *client, n int) int {
	t.Helper()
	var served atomic.Bool
	sent := make(chan int, 1)
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
	notices, echoes := flooder.count()
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
