// Package fakememcached is a Memcached in memory with a clock that tests set, for tests
// that let days pass, that count goroutines or that run inside testing/synctest.
package fakememcached

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// Server is one server. It knows the commands of the backend, and forgets items at the
// second at which Memcached does. It is safe for concurrent use.
type Server struct {
	mu      sync.Mutex
	items   map[string]item
	serial  uint64        // the cas number of the latest write
	uptime  time.Duration // moved by Advance alone
	before  func(line string)
	hung    chan struct{} // nil unless it hangs; closed when it goes on
	closed  bool
	conns   map[net.Conn]struct{}
	serving sync.WaitGroup
}

type item struct {
	value   []byte
	flags   string
	serial  uint64
	expires int64 // in seconds of uptime; 0 for never
}

// New returns a server. Close it when the clients are closed.
func New() *Server {
	return &Server{items: make(map[string]item), conns: make(map[net.Conn]struct{})}
}

// Client returns a new client of the server, to be closed by the caller.
func (s *Server) Client() *memcache.Client {
	client := memcache.NewFromSelector(s)
	client.MaxIdleConns = 64
	client.DialContext = func(context.Context, string, string) (net.Conn, error) { return s.connect() }
	return client
}

// PickServer implements [memcache.ServerSelector].
func (s *Server) PickServer(string) (net.Addr, error) { return address{}, nil }

// Each implements [memcache.ServerSelector].
func (s *Server) Each(f func(net.Addr) error) error { return f(address{}) }

type address struct{}

func (address) Network() string { return "fake" }
func (address) String() string  { return "fake" }

// Advance lets d pass on the server.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uptime += d
}

// Len returns how many items the server has.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.items {
		s.live(key)
	}
	return len(s.items)
}

// OnCommand makes the server call f with the first line of each command before it carries
// the command out.
func (s *Server) OnCommand(f func(line string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Hang lets the server read commands and answer none until GoOn or Close.
func (s *Server) Hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hung == nil {
		s.hung = make(chan struct{})
	}
}

// GoOn ends Hang.
func (s *Server) GoOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hung != nil {
		close(s.hung)
		s.hung = nil
	}
}

// Close closes all connections and returns when no goroutine serves one.
func (s *Server) Close() {
	s.GoOn()
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

func (s *Server) connect() (net.Conn, error) {
	client, server := net.Pipe()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, io.ErrClosedPipe
	}
	s.conns[server] = struct{}{}
	s.serving.Go(func() {
		s.serve(server)
		_ = server.Close()
		s.mu.Lock()
		delete(s.conns, server)
		s.mu.Unlock()
	})
	return client, nil
}

func (s *Server) serve(conn net.Conn) {
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Fields(line)
		var data []byte
		if words[0] == "add" || words[0] == "cas" || words[0] == "set" {
			n, err := strconv.Atoi(words[4])
			if err != nil {
				return
			}
			data = make([]byte, n+len("\r\n"))
			if _, err := io.ReadFull(r, data); err != nil {
				return
			}
			data = data[:n]
		}
		s.await(line)
		if _, err := conn.Write(s.answer(words, data)); err != nil {
			return
		}
	}
}

// await returns when the command may be carried out.
func (s *Server) await(line string) {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		before(line)
	}
	s.mu.Lock()
	hung := s.hung
	s.mu.Unlock()
	if hung != nil {
		<-hung
	}
}

func (s *Server) answer(words []string, data []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch words[0] {
	case "get", "gets":
		return s.get(words[1:])
	case "delete":
		if _, found := s.live(words[1]); !found {
			return []byte("NOT_FOUND\r\n")
		}
		delete(s.items, words[1])
		return []byte("DELETED\r\n")
	case "add", "cas", "set":
		return s.store(words, data)
	}
	return []byte("ERROR\r\n")
}

func (s *Server) get(keys []string) (answer []byte) {
	for _, key := range keys {
		if it, found := s.live(key); found {
			answer = fmt.Appendf(answer, "VALUE %s %s %d %d\r\n%s\r\n", key, it.flags, len(it.value), it.serial, it.value)
		}
	}
	return append(answer, "END\r\n"...)
}

func (s *Server) store(words []string, data []byte) []byte {
	key := words[1]
	it, found := s.live(key)
	switch {
	case words[0] == "add" && found:
		return []byte("NOT_STORED\r\n")
	case words[0] == "cas" && !found:
		return []byte("NOT_FOUND\r\n")
	case words[0] == "cas" && words[5] != strconv.FormatUint(it.serial, 10):
		return []byte("EXISTS\r\n")
	}
	seconds, err := strconv.ParseInt(words[3], 10, 32)
	if err != nil {
		return []byte("CLIENT_ERROR bad command line format\r\n")
	}
	s.serial++
	s.items[key] = item{value: data, flags: words[2], serial: s.serial, expires: s.expiry(seconds)}
	return []byte("STORED\r\n")
}

// expiry reads a time to live as Memcached does.
func (s *Server) expiry(seconds int64) int64 {
	const longestRelative = 30 * 24 * 60 * 60
	if seconds == 0 {
		return 0
	}
	if seconds > longestRelative {
		seconds -= time.Now().Unix() // a date, which the backend makes from wall time
	}
	return max(1, s.seconds()+seconds)
}

// live returns the item of key, which is forgotten if it has expired.
func (s *Server) live(key string) (item, bool) {
	it, found := s.items[key]
	if found && it.expires != 0 && it.expires <= s.seconds() {
		delete(s.items, key)
		return item{}, false
	}
	return it, found
}

// seconds is the server's clock, which ticks in seconds and starts at 1.
func (s *Server) seconds() int64 { return 1 + int64(s.uptime/time.Second) }
