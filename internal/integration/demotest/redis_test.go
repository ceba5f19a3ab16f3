package demotest

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/traffik-go/traffik/internal/integration/servers"
)

// Two demos on one Redis share every limit, and know nothing of a third on
// another database.
func TestTwoDemosShareRedis(t *testing.T) {
	t.Parallel()
	url := "redis://" + servers.Redis(t, servers.Own()).Addr
	demos := []*demo{start(t, "BACKEND="+url), start(t, "BACKEND="+url)}
	other := start(t, "BACKEND="+url+"/1")
	inOneWindow(t, 10*time.Second, func() error {
		for i := range 8 {
			want := http.StatusOK
			if i >= 5 {
				want = http.StatusTooManyRequests
			}
			if got := demos[i%2].get("/gin/items"); got.status != want {
				return fmt.Errorf("request %d: status %d, want %d", i, got.status, want)
			}
		}
		if got := other.get("/gin/items"); got.status != http.StatusOK || got.header.Get("X-RateLimit-Remaining") != "4" {
			return fmt.Errorf("on another database: status %d, %s remaining; want 4", got.status, got.header.Get("X-RateLimit-Remaining"))
		}
		return nil
	})
}
