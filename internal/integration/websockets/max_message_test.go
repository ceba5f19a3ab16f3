package websockets

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
)

const mebi = 1 << 20

// measuring are servers that answer each message with its length, and tell what ended their
// reads. Their library's read limit is set unless it is 0.
var measuring = map[string]func(limit traffik.Limiter, readLimit int64, ended chan<- error, opts ...traffikws.Option) http.HandlerFunc{
	"coder": func(limit traffik.Limiter, readLimit int64, ended chan<- error, opts ...traffikws.Option) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover})
			if err != nil {
				return
			}
			defer func() { _ = ws.CloseNow() }()
			if readLimit != 0 {
				ws.SetReadLimit(readLimit)
			}
			conn := traffikws.Wrap(ws, traffikws.From(r), limit, opts...)
			for {
				_, data, err := conn.Read(r.Context())
				if err == nil {
					err = conn.Write(r.Context(), websocket.MessageText, fmt.Append(nil, len(data)))
				}
				if err != nil {
					ended <- err
					return
				}
			}
		}
	},
	"gorilla": func(limit traffik.Limiter, readLimit int64, ended chan<- error, opts ...traffikws.Option) http.HandlerFunc {
		upgrader := gorilla.Upgrader{EnableCompression: true}
		return func(w http.ResponseWriter, r *http.Request) {
			ws, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer func() { _ = ws.Close() }()
			ws.SetReadLimit(readLimit)
			conn := traffikws.WrapMessages(ws, traffikws.From(r), limit, opts...)
			for {
				_, data, err := conn.ReadMessage()
				if err == nil {
					err = conn.WriteMessage(gorilla.TextMessage, fmt.Append(nil, len(data)))
				}
				if err != nil {
					ended <- err
					return
				}
			}
		}
	},
}

// endOf waits for what ended the reads of a server.
func endOf(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		t.Fatal("the reads of the server have not ended")
		return nil
	}
}

func isTooBig(err error, most int) bool {
	var tooBig *traffikws.TooBigError
	return errors.As(err, &tooBig) && tooBig.MaxBytes == most && errors.Is(err, traffikws.ErrMessageTooBig)
}

// A message of the bound's size comes through, and one a byte larger ends the connection
// with 1009, as the peer sees it, compressed or not and in every mode.
func TestMaxMessageBytes(t *testing.T) {
	t.Parallel()
	for name, server := range measuring {
		for compression, mode := range map[string]websocket.CompressionMode{
			"plain": websocket.CompressionDisabled, "compressed": websocket.CompressionContextTakeover, "without context": websocket.CompressionNoContextTakeover,
		} {
			for modeName, opts := range map[string][]traffikws.Option{
				"notify": nil,
				"delay":  {traffikws.WithMode(traffikws.Delay(0))},
				"small":  {traffikws.WithMaxMessageBytes(1000)},
			} {
				t.Run(fmt.Sprint(name, " ", compression, " ", modeName), func(t *testing.T) {
					t.Parallel()
					most := mebi
					if modeName == "small" {
						most = 1000
					}
					limit, _ := newLimit(t, "9/h")
					ended := make(chan error, 1)
					c := dialWith(t, serve(t, server(limit, 8*mebi, ended, opts...)), "", &websocket.DialOptions{CompressionMode: mode, CompressionThreshold: 1})
					for _, size := range []int{0, most} {
						c.say(strings.Repeat("x", size))
						if got := c.hear(); got != fmt.Sprint(size) {
							t.Errorf("%s bytes came, want %d", got, size)
						}
					}
					_ = c.ws.Write(t.Context(), websocket.MessageText, bytes.Repeat([]byte("x"), most+1)) // may break at its end
					if heard := c.hearAll(); len(heard) != 0 {
						t.Errorf("heard %q after a message above the bound", heard)
					}
					var closed websocket.CloseError
					if !errors.As(c.ended, &closed) || closed.Code != websocket.StatusMessageTooBig || closed.Reason != "message too big" {
						t.Errorf("the connection ended by %v, want 1009", c.ended)
					}
					if err := endOf(t, ended); !isTooBig(err, most) {
						t.Errorf("the server's reads ended by %v, want a TooBigError", err)
					}
					stat, err := limit.Key("ip:127.0.0.1").Stat(t.Context())
					if err != nil || stat.Remaining != 7 {
						t.Errorf("%d remaining, %v; want two charged", stat.Remaining, err)
					}
				})
			}
		}
	}
}

// zeros is a message of so many zeros, as it goes over the wire: one compressed frame.
func zeros(t *testing.T, size int) []byte {
	t.Helper()
	var payload bytes.Buffer
	w, err := flate.NewWriter(&payload, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for part := make([]byte, 64<<10); size > 0; size -= len(part) {
		if _, err := w.Write(part[:min(size, len(part))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	compressed := bytes.TrimSuffix(payload.Bytes(), []byte{0, 0, 0xff, 0xff})
	return append(header(0xc2, len(compressed)), compressed...)
}

// header begins a frame of a client's, whose mask changes nothing.
func header(first byte, size int) []byte {
	frame := binary.BigEndian.AppendUint64([]byte{first, 0xff}, uint64(size))
	return append(frame, 0, 0, 0, 0)
}

// dialRaw connects a peer that may write frames of its own to the connection beneath.
func dialRaw(t *testing.T, server *host) *gorilla.Conn {
	t.Helper()
	return dialGorillaWith(t, server, gorilla.Dialer{NetDialContext: server.dial, EnableCompression: true})
}

// closeCode reads until the connection ends, and returns the status of the close frame.
func closeCode(ws *gorilla.Conn) int {
	_ = ws.SetReadDeadline(time.Now().Add(patience)) // a connection that nobody ends is a failure, too
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			var closed *gorilla.CloseError
			if errors.As(err, &closed) {
				return closed.Code
			}
			return 0
		}
	}
}

// A message of 32 KiB on the wire and 32 MiB after decompression costs a few times the bound
// and no more, whatever the library's limit says of its bytes on the wire. Beside no other
// test: it looks at what the process allocates.
func TestMaxMessageBytesBoundsMemory(t *testing.T) {
	bomb := zeros(t, 32*mebi)
	if len(bomb) > 33<<10 {
		t.Fatalf("%d bytes on the wire", len(bomb))
	}
	for name, server := range measuring {
		for modeName, mode := range map[string]traffikws.Mode{"notify": traffikws.Notify(), "delay": traffikws.Delay(0)} {
			t.Run(name+" "+modeName, func(t *testing.T) {
				limit, _ := newLimit(t, "9/h")
				ended := make(chan error, 1)
				at := serve(t, server(limit, 64*mebi, ended, traffikws.WithMode(mode)))
				const messages = 3
				before := allocated()
				for range messages {
					peer := dialRaw(t, at)
					if _, err := peer.NetConn().Write(bomb); err != nil {
						t.Fatal(err)
					}
					if code := closeCode(peer); code != gorilla.CloseMessageTooBig {
						t.Errorf("the connection ended with %d, want 1009", code)
					}
					if err := endOf(t, ended); !isTooBig(err, mebi) {
						t.Errorf("the server's reads ended by %v, want a TooBigError", err)
					}
				}
				if cost := allocated() - before; cost > messages*6*mebi { // three, and what pools don't keep, under the race detector above all
					t.Errorf("%d messages cost %d MiB, want at most %d", messages, cost/mebi, messages*6)
				}
			})
		}
	}
}

// allocated is what the process has ever allocated, in bytes.
func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// What a connection holds under Delay, however well its messages are compressed, is at most
// what the documentation says. Beside no other test: it looks at the heap.
func TestMaxMessageBytesBoundsWhatDelayHolds(t *testing.T) {
	small, whole := zeros(t, 1), zeros(t, mebi)
	for name, server := range measuring {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limit, _ := newLimit(t, "1/h")
				ended := make(chan error, 1)
				peer := dialRaw(t, serveInMemory(t, server(limit, 8*mebi, ended, traffikws.WithMode(traffikws.Delay(2*time.Hour)))))
				if _, err := peer.NetConn().Write(small); err != nil {
					t.Fatal(err)
				}
				if _, text, err := peer.ReadMessage(); err != nil || string(text) != "1" {
					t.Fatalf("heard %q, %v", text, err)
				}
				synctest.Wait()
				runtime.GC() // lets go of what pools keep for one collection
				before := heapInUse()
				for range 40 {
					if _, err := peer.NetConn().Write(whole); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait() // one is held, and reading ahead has stopped
				grown := int64(heapInUse()) - int64(before)
				if least, most := int64(3*mebi/2), int64(64<<10+4*mebi); grown < least || grown > most {
					t.Errorf("a connection holds %d bytes, want %d to %d", grown, least, most)
				}
				_ = peer.Close()
				if err := <-ended; err == nil { // seen when the hold is over
					t.Error("the reads ended without an error")
				}
			})
		})
	}
}

// The limit of the library holds besides, and whichever is reached first ends the
// connection.
func TestMaxMessageBytesBesideTheReadLimit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		library   string
		readLimit int64 // 0 is the library's own
		frame     []byte
		want      error
	}{
		"coder's default":           {"coder", 0, append(header(0x82, 40_000), make([]byte, 40_000)...), websocket.ErrMessageTooBig},
		"coder's default inflated":  {"coder", 0, zeros(t, 40_000), websocket.ErrMessageTooBig},
		"coder's larger":            {"coder", 2 * mebi, zeros(t, 4*mebi), traffikws.ErrMessageTooBig},
		"coder without":             {"coder", -1, zeros(t, 4*mebi), traffikws.ErrMessageTooBig},
		"gorilla without":           {"gorilla", 0, zeros(t, 4*mebi), traffikws.ErrMessageTooBig},
		"gorilla's counts the wire": {"gorilla", 32 << 10, zeros(t, 4*mebi), traffikws.ErrMessageTooBig},
		"gorilla's smaller":         {"gorilla", 32 << 10, append(header(0x82, 40_000), make([]byte, 40_000)...), gorilla.ErrReadLimit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit, _ := newLimit(t, "9/h")
				ended := make(chan error, 1)
				peer := dialRaw(t, serveInMemory(t, measuring[c.library](limit, c.readLimit, ended)))
				if _, err := peer.NetConn().Write(c.frame); err != nil {
					t.Fatal(err)
				}
				if code := closeCode(peer); code != gorilla.CloseMessageTooBig {
					t.Errorf("the connection ended with %d, want 1009", code)
				}
				if err := endOf(t, ended); !errors.Is(err, c.want) {
					t.Errorf("the server's reads ended by %v, want %v", err, c.want)
				}
			})
		})
	}
}

// A peer that stops in the middle of a frame keeps no read and no close of the server for
// ever, which coder's library alone would do: the frame tells it why, and soon the
// connection is broken.
func TestCloseOfAPeerThatStops(t *testing.T) {
	t.Parallel()
	half := append(header(0x82, 10_000), "stops"...)
	for name, c := range map[string]struct {
		frames []byte
		want   int
		err    error
	}{
		"too big":        {append(header(0x82, 8*mebi), make([]byte, 2000)...), gorilla.CloseMessageTooBig, traffikws.ErrMessageTooBig},
		"over the limit": {append(bytes.Repeat(header(0x82, 0), 2), half...), gorilla.ClosePolicyViolation, nil},
	} {
		for library, server := range measuring {
			t.Run(name+" "+library, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					limit, _ := newLimit(t, "1/h")
					ended := make(chan error, 1)
					peer := dialRaw(t, serveInMemory(t, server(limit, 16*mebi, ended, traffikws.WithMaxMessageBytes(1000), traffikws.WithMode(traffikws.Close()))))
					peer.SetCloseHandler(func(int, string) error { return nil }) // no answer
					start := time.Now()
					if _, err := peer.NetConn().Write(c.frames); err != nil {
						t.Fatal(err)
					}
					if code := closeCode(peer); code != c.want || time.Since(start) != 0 {
						t.Errorf("the connection ended with %d after %v, want %d at once", code, time.Since(start), c.want)
					}
					err := endOf(t, ended)
					if took := time.Since(start); err == nil || c.err != nil && !errors.Is(err, c.err) || took > 10*time.Second {
						t.Errorf("the server's reads ended by %v after %v", err, took)
					}
					if _, err := peer.NetConn().Read(make([]byte, 1)); err == nil || time.Since(start) > 10*time.Second {
						t.Errorf("the connection is open after %v: %v", time.Since(start), err)
					}
				})
			})
		}
	}
}
