package webtest

import (
	"context"
	"net/http"
	"testing"
)

// leave sends a request and hangs up when its handler runs.
func leave(t *testing.T, url string, entered <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-entered
		cancel()
	}()
	res, err := http.DefaultClient.Do(req)
	if err == nil {
		_ = res.Body.Close()
		t.Errorf("%s: answered with %d before the client left", url, res.StatusCode)
	}
}
