package traffikws_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
)

// streams is a connection in the style of coder's that hands out its messages as streams,
// of so many bytes each. Its peer answers a close after what it has sent.
type streams struct {
	script
	sizes  []int
	wait   time.Duration    // before each message
	taken  int              // bytes that were read
	open   io.LimitedReader // what is left of the latest message
	frames []string         // that closed it
}

// zeros is a stream without end that counts what is read of it.
type zeros struct{ taken *int }

func (z zeros) Read(p []byte) (int, error) {
	clear(p)
	*z.taken += len(p)
	return len(p), nil
}

func (s *streams) stream() (io.Reader, error) {
	time.Sleep(s.wait) //nolint:forbidigo // the clock of the bubble
	if len(s.sizes) == 0 {
		if len(s.frames) > 0 {
			return nil, coderCloseError{Code: 1009}
		}
		return nil, errEnd
	}
	s.open = io.LimitedReader{R: zeros{&s.taken}, N: int64(s.sizes[0])}
	s.sizes = s.sizes[1:]
	return &s.open, nil
}

func (s *streams) Reader(context.Context) (kind, io.Reader, error) {
	if s.open.N > 0 {
		return 0, nil, errors.New("the message before was not read to its end")
	}
	r, err := s.stream()
	return 2, r, err
}

func (s *streams) Read(context.Context) (kind, []byte, error) {
	panic("a message was read without a bound")
}

func (s *streams) Close(code status, reason string) error {
	s.frames = append(s.frames, fmt.Sprint(int(code), " ", reason))
	return nil
}

// messageStreams is the same in the style of gorilla's.
type messageStreams struct{ *streams }

func (s messageStreams) NextReader() (int, io.Reader, error) {
	r, err := s.stream() // passes over the message before
	return 2, r, err
}

func (s messageStreams) ReadMessage() (int, []byte, error) {
	panic("a message was read without a bound")
}

func (s messageStreams) WriteMessage(k int, data []byte) error {
	return s.Write(context.Background(), kind(k), data)
}

func (s messageStreams) WriteControl(opcode int, data []byte, _ time.Time) error {
	s.frames = append(s.frames, fmt.Sprintf("%d %s", int(data[0])<<8+int(data[1]), data[2:]))
	return nil
}

func (s messageStreams) Close() error { return nil }

// plainStyles are connections without streams, whose messages are read whole: one that can
// be closed, and one that can't.
type closingScript struct{ closing }

func (c *closingScript) ReadMessage() (int, []byte, error) { return c.script.ReadMessage() }

// bounded is a wrapped connection, with each way to read a message.
type bounded struct {
	reads map[string]func() (int, error) // each returns the length
	write func() error
	close func() error
}

func wrapBounded(t *testing.T, s traffikws.Socket[kind], limit traffik.Limiter, opts ...traffikws.Option) bounded {
	t.Helper()
	conn := traffikws.Wrap(s, peer(), limit, opts...)
	return bounded{
		reads: map[string]func() (int, error){
			"Read": func() (int, error) {
				_, data, err := conn.Read(t.Context())
				return len(data), err
			},
			"Reader": func() (int, error) {
				_, r, err := conn.Reader(t.Context())
				return length(r), err
			},
			"ReadJSON": func() (int, error) { return 0, conn.ReadJSON(t.Context(), new(any)) },
		},
		write: func() error { return conn.Write(t.Context(), 1, nil) },
		close: func() error { return conn.Close(1000, "") },
	}
}

func wrapMessagesBounded(s traffikws.MessageSocket, limit traffik.Limiter, opts ...traffikws.Option) bounded {
	conn := traffikws.WrapMessages(s, peer(), limit, opts...)
	return bounded{
		reads: map[string]func() (int, error){
			"ReadMessage": func() (int, error) {
				_, data, err := conn.ReadMessage()
				return len(data), err
			},
			"NextReader": func() (int, error) {
				_, r, err := conn.NextReader()
				return length(r), err
			},
			"ReadJSON": func() (int, error) { return 0, conn.ReadJSON(new(any)) },
		},
		write: func() error { return conn.WriteMessage(1, nil) },
		close: func() error { return conn.WriteControl(8, []byte{0x3, 0xe8}, time.Time{}) },
	}
}

func length(r io.Reader) int {
	if r == nil {
		return 0
	}
	n, _ := io.Copy(io.Discard, r)
	return int(n)
}

// isTooBig reports whether err says that a message was above max bytes.
func isTooBig(err error, most int) bool {
	var tooBig *traffikws.TooBigError
	return errors.As(err, &tooBig) && tooBig.MaxBytes == most && errors.Is(err, traffikws.ErrMessageTooBig) && strings.Contains(err.Error(), fmt.Sprint(most))
}

// A message of the bound's size is delivered, one a byte larger ends the connection with
// 1009 in every mode, whatever reads it: read up to the bound, not charged, and known to
// all calls from then on.
func TestMaxMessageBytes(t *testing.T) {
	t.Parallel()
	const most = 1000
	for name, c := range map[string]struct {
		opts []traffikws.Option
		most int
	}{
		"set":     {[]traffikws.Option{traffikws.WithMaxMessageBytes(most)}, most},
		"default": {nil, 1 << 20},
		"delay":   {[]traffikws.Option{traffikws.WithMaxMessageBytes(most), traffikws.WithMode(traffikws.Delay(0))}, most},
		"close":   {[]traffikws.Option{traffikws.WithMaxMessageBytes(most), traffikws.WithMode(traffikws.CloseAfter(9))}, most},
	} {
		for _, style := range []string{"Wrap", "WrapMessages"} {
			for _, way := range []string{"Read", "Reader", "ReadMessage", "NextReader", "ReadJSON"} {
				t.Run(fmt.Sprint(name, " ", style, " ", way), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						limit := realLimit(t, "9/h")
						s := &streams{sizes: []int{0, c.most, c.most + 1, 8 << 20}}
						var conn bounded
						if style == "Wrap" {
							conn = wrapBounded(t, s, limit, c.opts...)
						} else {
							conn = wrapMessagesBounded(messageStreams{s}, limit, c.opts...)
						}
						read := conn.reads[way]
						if read == nil {
							return // a way of the other style
						}
						for _, want := range []int{0, c.most} {
							if n, err := read(); way != "ReadJSON" && (n != want || err != nil) {
								t.Errorf("%d bytes, %v; want %d", n, err, want)
							}
						}
						_, err := read()
						if !isTooBig(err, c.most) || !slices.Equal(s.frames, []string{"1009 message too big"}) {
							t.Errorf("error %v, closed by %q; want 1009", err, s.frames)
						}
						if s.taken > 2*(c.most+1) {
							t.Errorf("%d bytes were read, want those of two messages and one above", s.taken)
						}
						for _, again := range []func() error{conn.write, conn.close, func() error { _, err := read(); return err }} {
							if err := again(); !isTooBig(err, c.most) {
								t.Errorf("error %v, want the same", err)
							}
						}
						if len(s.frames) != 1 || len(s.written) != 0 {
							t.Errorf("closed by %q, written %q after the end", s.frames, s.written)
						}
						if stat, err := limit.Key("ip:192.0.2.1").Stat(t.Context()); err != nil || stat.Remaining != 7 {
							t.Errorf("%d remaining, %v; want the two delivered messages charged", stat.Remaining, err)
						}
					})
				})
			}
		}
	}
}

// A connection without streams has its messages checked, and one without a way to close
// ends for the wrapper alone.
func TestMaxMessageBytesOfWholeMessages(t *testing.T) {
	t.Parallel()
	opts := []traffikws.Option{traffikws.WithMaxMessageBytes(3)}
	limit := realLimit(t, "9/h")
	closes := &closingScript{closing{script: script{inbound: strings.Fields("abc abcd a")}}}
	for name, conn := range map[string]bounded{
		"closes":          wrapBounded(t, closes, limit, opts...),
		"can't close":     wrapBounded(t, &script{inbound: strings.Fields("abc abcd a")}, limit, opts...),
		"messages":        wrapMessagesBounded(&script{inbound: strings.Fields("abc abcd a")}, limit, opts...),
		"of a wrapper":    wrapBounded(t, traffikws.Wrap(&script{inbound: strings.Fields("abc abcd a")}, peer(), limit), limit, opts...),
		"in a wrapper":    wrapBounded(t, traffikws.Wrap(&script{inbound: strings.Fields("abc abcd a")}, peer(), limit, opts...), limit),
		"with a function": wrapMessagesBounded(&script{inbound: strings.Fields("abc abcd a")}, limit, append(opts, traffikws.WithCloser(closes.note))...),
	} {
		read := conn.reads["Read"]
		if read == nil {
			read = conn.reads["ReadMessage"]
		}
		if n, err := read(); n != 3 || err != nil {
			t.Errorf("%s: %d bytes, %v; want a message of the bound's size", name, n, err)
		}
		for range 2 {
			if _, err := read(); !isTooBig(err, 3) {
				t.Errorf("%s: %v, want the end", name, err)
			}
		}
	}
	if want := []string{"1009 message too big", "1009 message too big"}; !slices.Equal(closes.closed, want) {
		t.Errorf("closed by %q, want %q", closes.closed, want)
	}
}

func (c *closingScript) note(code int, reason string) error { return c.Close(status(code), reason) }

// A message above the bound that is read ahead ends the hold of the one before it, which is
// dropped with its charge refunded.
func TestMaxMessageBytesWhileHeld(t *testing.T) {
	t.Parallel()
	for name, strategy := range map[string]traffik.Strategy{"gcra": traffik.GCRA{}, "queue": traffik.LeakyBucketWithQueue{Capacity: 9}} {
		for _, style := range []string{"Wrap", "WrapMessages"} {
			t.Run(name+" "+style, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					limit := realLimit(t, "1/10s", traffik.WithStrategy(strategy))
					fresh, err := limit.Key("ip:192.0.2.1").Stat(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					s := &streams{sizes: []int{1, 2, 3, 11, 4}, wait: time.Second}
					opts := []traffikws.Option{traffikws.WithMaxMessageBytes(10), traffikws.WithMode(traffikws.Delay(time.Minute))}
					read := wrapBounded(t, s, limit, opts...).reads["Read"]
					if style == "WrapMessages" {
						read = wrapMessagesBounded(messageStreams{s}, limit, opts...).reads["ReadMessage"]
					}
					start := time.Now()
					first, err := read()
					if first != 1 || err != nil {
						t.Fatalf("%d bytes, %v", first, err)
					}
					_, err = read()
					took := time.Since(start)
					want := 4 * time.Second // when the fourth has come
					if style == "WrapMessages" {
						want += 2 * time.Second // the last message, and the answer to the close
					}
					if !isTooBig(err, 10) || took != want || s.taken > 1+2+3+11 {
						t.Errorf("error %v after %v, %d bytes read; want the end after %v", err, took, s.taken, want)
					}
					time.Sleep(10 * time.Second) //nolint:forbidigo // until the first is worked off
					if stat, err := limit.Key("ip:192.0.2.1").Stat(t.Context()); err != nil || stat.Remaining != fresh.Remaining {
						t.Errorf("%d remaining, %v; want %d", stat.Remaining, err, fresh.Remaining)
					}
				})
			})
		}
	}
}

// A held write ends with the connection, too, and is not sent.
func TestMaxMessageBytesEndsHeldWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := realLimit(t, "1/h", traffik.WithStrategy(traffik.LeakyBucketWithQueue{Capacity: 9}))
		s := &streams{sizes: []int{11}, wait: time.Second}
		conn := wrapBounded(t, s, realLimit(t, "9/h"), traffikws.WithMaxMessageBytes(10), traffikws.WithOutbound(out, traffikws.Delay(2*time.Hour)))
		if err := conn.write(); err != nil {
			t.Fatal(err)
		}
		before, err := out.Key("ip:192.0.2.1").Stat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = conn.reads["Read"]() }()
		start := time.Now()
		if err := conn.write(); !isTooBig(err, 10) || time.Since(start) != time.Second || len(s.written) != 1 {
			t.Errorf("error %v after %v, written %q; want the end after a second", err, time.Since(start), s.written)
		}
		if stat, err := out.Key("ip:192.0.2.1").Stat(t.Context()); err != nil || stat.Remaining != before.Remaining {
			t.Errorf("%d remaining, %v; want %d", stat.Remaining, err, before.Remaining)
		}
	})
}

// Once the application closes under Delay, messages are passed over, whatever their size.
func TestMaxMessageBytesAfterTheOwnClose(t *testing.T) {
	t.Parallel()
	for _, style := range []string{"Wrap", "WrapMessages"} {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &streams{sizes: []int{1, 1 << 20, 5}}
				opts := []traffikws.Option{traffikws.WithMaxMessageBytes(10), traffikws.WithMode(traffikws.Delay(0))}
				conn := wrapBounded(t, s, realLimit(t, "9/h"), opts...)
				read := conn.reads["Read"]
				if style == "WrapMessages" {
					conn = wrapMessagesBounded(messageStreams{s}, realLimit(t, "9/h"), opts...)
					read = conn.reads["ReadMessage"]
				}
				if n, err := read(); n != 1 || err != nil {
					t.Fatalf("%d bytes, %v", n, err)
				}
				if err := conn.close(); err != nil {
					t.Fatal(err)
				}
				if _, err := read(); !errors.Is(err, coderCloseError{Code: 1009}) || len(s.frames) != 1 {
					t.Errorf("error %v, closed by %q; want the peer's answer and one frame", err, s.frames)
				}
			})
		})
	}
}

// What reads a message above the bound tells of the end once the peer has answered the close
// frame; a write that fails meanwhile does not hang up before.
func TestMaxMessageBytesIsToldAfterTheAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &streams{sizes: []int{11, 1, 1}, wait: time.Second}
		conn := wrapMessagesBounded(messageStreams{s}, realLimit(t, "9/h"), traffikws.WithMaxMessageBytes(10))
		start, read := time.Now(), make(chan error, 1)
		go func() {
			_, err := conn.reads["ReadMessage"]()
			read <- err
		}()
		time.Sleep(1500 * time.Millisecond) //nolint:forbidigo // the clock of the bubble
		if err := conn.write(); !isTooBig(err, 10) || time.Since(start) != 4*time.Second {
			t.Errorf("writing: %v after %v; want the end after 4 s", err, time.Since(start))
		}
		if err := <-read; !isTooBig(err, 10) {
			t.Errorf("reading: %v, want the end", err)
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // the clock of the bubble
	})
}

// An application that does not read on learns of the end from its writes, after five
// seconds at most.
func TestMaxMessageBytesWithoutAnotherRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &streams{sizes: []int{1, 2, 11, 1}, wait: time.Second}
		limit := realLimit(t, "2/3s", traffik.WithStrategy(traffik.GCRA{}))
		conn := wrapMessagesBounded(messageStreams{s}, limit, traffikws.WithMaxMessageBytes(10), traffikws.WithMode(traffikws.Delay(0)))
		start := time.Now()
		for range 2 { // while the second is held the third is begun
			if _, err := conn.reads["ReadMessage"](); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
		if err := conn.write(); !isTooBig(err, 10) || time.Since(start) != 8*time.Second {
			t.Errorf("writing: %v after %v; want the end, 5 s after the third message", err, time.Since(start))
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // the clock of the bubble
	})
}

func TestMaxMessageBytesOption(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, -1, math.MinInt} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, fmt.Sprintf("WithMaxMessageBytes(%d)", n)) {
					t.Errorf("%d: panic %q, want one that names the value", n, text)
				}
			}()
			traffikws.WithMaxMessageBytes(n)
		}()
	}
	s := &streams{sizes: []int{3 << 20}}
	conn := wrapBounded(t, s, realLimit(t, "9/h"), traffikws.WithMaxMessageBytes(1), traffikws.WithMaxMessageBytes(math.MaxInt))
	if n, err := conn.reads["Read"](); n != 3<<20 || err != nil {
		t.Errorf("%d bytes, %v; want the message, as the latest option has no bound", n, err)
	}
}
