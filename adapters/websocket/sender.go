package traffikws

import (
	"sync"

	traffik "github.com/traffik-go/traffik/core"
)

// sender is who the messages of a connection are charged to, in both
// directions. Each message is a use of its own, so that nobody waits for the
// store call of another, and what an identifier could not answer is asked again.
type sender struct {
	source     traffik.Source // of the handshake, nil if there is none
	connection func() string

	mu    sync.Mutex
	known *traffik.Request // remembers the identities found so far
}

func newSender(from *traffik.Request) *sender {
	if from == nil {
		panic("traffikws: the request of the handshake is nil; give From(r)")
	}
	known := from.Detach()
	return &sender{source: known.Source, connection: newConnection(), known: known}
}

// request is the use of a message.
func (s *sender) request(m Message) *traffik.Request {
	s.mu.Lock()
	r := s.known.Detach()
	s.mu.Unlock()
	r.Source = &messageSource{Source: s.source, message: m, connection: s.connection}
	return r
}

// learn keeps the identities found for a message and lets go of its data.
func (s *sender) learn(r *traffik.Request) {
	r.Source = s.source
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = r
}
