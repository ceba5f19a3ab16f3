package traffikws_test

import (
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
