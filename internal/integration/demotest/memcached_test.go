package demotest

import (
	"fmt"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/traffik-go/traffik/internal/integration/servers"
)

// Two demos on one Memcached share their counts, and lose them with it.
func TestMemcached(t *testing.T) {
	t.Parallel()
	server := servers.Memcached(t, servers.Own())
	backend := "BACKEND=memcached://" + server.Addr
	demos := []*demo{start(t, backend), start(t, backend)}
	inOneWindow(t, 10*time.Second, func() error {
		for _, framework := range []string{"gin", "echo", "chi"} {
			for left := 4; left >= 0; left-- {
				got := demos[left%2].get("/" + framework + "/items")
				if got.status != http.StatusOK || got.header.Get("X-RateLimit-Remaining") != strconv.Itoa(left) {
					return fmt.Errorf("%s: status %d, headers %v, want %d remaining", framework, got.status, got.header, left)
				}
			}
			for _, d := range demos {
				if got := d.get("/" + framework + "/items"); got.status != http.StatusTooManyRequests {
					return fmt.Errorf("%s: the sixth got %d", framework, got.status)
				}
			}
			for i := range 3 { // two limits at once
				if got := demos[i%2].get("/" + framework + "/search"); got.status != http.StatusOK {
					return fmt.Errorf("%s: search %d got %d", framework, i+1, got.status)
				}
			}
		}
		return nil
	})
	server.Kill()
	for _, d := range demos {
		if got := d.get("/gin/items"); got.status != http.StatusOK {
			t.Errorf("without the store: status %d, want the default policy to let it pass", got.status)
		}
		d.stop(syscall.SIGTERM)
	}
}
