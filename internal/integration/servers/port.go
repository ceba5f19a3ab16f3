package servers

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are below those that systems give to outgoing connections, so that a
// killed server's port is still free when it comes back, and so low that a
// cluster's bus, 10000 above, is too.
const (
	firstPort = 10000
	lastPort  = 21999
	busOffset = 10000
)

var ports struct {
	sync.Mutex
	taken map[int]bool // those handed out by this process
}

// freePort returns a port that nobody listens on, nor on its bus port.
func freePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.taken == nil {
		ports.taken = map[int]bool{}
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1) //nolint:gosec // any port will do
		if !ports.taken[port] && free(port) && free(port+busOffset) {
			ports.taken[port] = true
			return port, nil
		}
	}
	return 0, errors.New("servers: no free port")
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // nothing to wait for
	if err != nil {
		return false
	}
	return l.Close() == nil
}
