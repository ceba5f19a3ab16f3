package traffikws_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
)

// stuck is a connection in the style of gorilla's whose peer does not read, so
// that the application's write blocks.
type stuck struct {
	script
	until chan struct{}
}

func (s *stuck) WriteMessage(k int, data []byte) error {
	<-s.until
	return s.script.WriteMessage(k, data)
}

// A write that blocks keeps the reader, which would answer pings, from its work
// for no longer than a notice may take.
func TestNoticeBehindABlockedWrite(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		freed   time.Duration
		written string
	}{
		"for long":  {time.Hour, "1 news"},
		"for a bit": {4 * time.Second, `1 news,1 {"type":"rate_limit","retry_after_ms":3599000}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := realLimit(t, "1/h")
				s := &stuck{script: script{inbound: strings.Fields("a b c")}, until: make(chan struct{})}
				time.AfterFunc(c.freed, func() { close(s.until) })
				conn := traffikws.WrapMessages(s, peer(), limit)
				go func() {
					if err := conn.WriteMessage(1, []byte("news")); err != nil {
						t.Error(err)
					}
				}()
				time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
				if _, _, err := conn.ReadMessage(); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_, _, err := conn.ReadMessage()
				took := time.Since(start)
				if c.freed < 5*time.Second {
					if !errors.Is(err, errEnd) || took != c.freed-time.Second {
						t.Errorf("error %v after %v, want the notice written once the writer is free", err, took)
					}
				} else if !errors.Is(err, os.ErrDeadlineExceeded) || took != 5*time.Second {
					t.Errorf("error %v after %v, want the end of a notice's time after 5 s", err, took)
				} else if _, _, err := conn.ReadMessage(); !errors.Is(err, errEnd) {
					t.Errorf("reading on: %v", err)
				}
				<-s.until
				synctest.Wait()
				if got := strings.Join(s.written, ","); got != c.written {
					t.Errorf("written %q, want %q", got, c.written)
				}
			})
		})
	}
}

// jammed is a connection on which nothing can be written.
type jammed struct{ script }

func (*jammed) Write(ctx context.Context, _ kind, _ []byte) error {
	<-ctx.Done()
	return ctx.Err()
}

// A notice that can't be written, because the peer reads nothing or another write is
// under way, holds reads up for five seconds at most, and is not broken off before by
// the end of a read.
func TestNoticeOnAJammedConnection(t *testing.T) {
	t.Parallel()
	for _, patience := range []time.Duration{time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			conn := traffikws.Wrap(&jammed{script{inbound: []string{"1", "2", "3"}}}, peer(), realLimit(t, "1/h"))
			if _, data, err := conn.Read(t.Context()); err != nil || string(data) != "1" {
				t.Fatalf("%q, %v", data, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			start := time.Now()
			if _, data, err := conn.Read(ctx); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 5*time.Second {
				t.Errorf("%q, %v after %v; want the notice given up after five seconds", data, err, time.Since(start))
			}
		})
	}
}
