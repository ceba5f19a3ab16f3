package traffikmemcached

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	traffik "github.com/traffik-go/traffik/core"
)

func TestWrongConfiguration(t *testing.T) {
	t.Parallel()
	client := memcache.New("127.0.0.1:1")
	for says, opt := range map[string]Option{
		`WithNamespace("")`:      WithNamespace(""),
		`WithNamespace("a b")`:   WithNamespace("a b"),
		`WithNamespace("a~b")`:   WithNamespace("a~b"),
		`WithNamespace("#a")`:    WithNamespace("#a"),
		`WithNamespace("é")`:     WithNamespace("é"),
		`WithNamespace("nnnn`:    WithNamespace(strings.Repeat("n", 65)),
		"WithTimeout(0s)":        WithTimeout(0),
		"WithMaxSkew(-1s)":       WithMaxSkew(-time.Second),
		"WithMaxSkew(24h0m0.000": WithMaxSkew(24*time.Hour + 1),
		"WithLogger(nil)":        WithLogger(nil),
		"WithMaxItemBytes(1023)": WithMaxItemBytes(1023),
		"WithClock(nil)":         WithClock(nil),
	} {
		b, err := New(client, opt)
		if b != nil || !errors.Is(err, traffik.ErrConfig) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if _, err := New(nil, WithTimeout(0)); err == nil || !strings.Contains(err.Error(), "client is nil") || !strings.Contains(err.Error(), "WithTimeout") {
		t.Errorf("no client and no timeout: %v, want both", err)
	}
	for _, skew := range []time.Duration{0, 24 * time.Hour} {
		b, err := New(client, WithNamespace(strings.Repeat("n", 64)), WithMaxItemBytes(1024), WithMaxSkew(skew))
		if err != nil {
			t.Error(err)
			continue
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}
