package traffik

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/traffik-go/traffik/core/internal/clientip"
)

// lookForProxy notes a header that is not believed if its peer looks like a proxy: all
// clients behind that peer share one bucket. The throttle that asked for the address logs
// it.
func (c *clientIP) lookForProxy(r *Request, peer netip.Addr) {
	switch {
	case clientip.IsPrivate(peer):
		r.memo().ignored = clientip.Present(r.Header)
	case !c.public.later.Load() || sampled():
		if header := clientip.Present(r.Header); c.public.looksProxied(header != 0) {
			r.memo().ignored = header
		}
	}
}

const (
	sampleSize  = 64 // requests of one sample
	sampleMost  = 56 // of them with a header: more than clients that send one by themselves
	sampleEvery = 16 // after the first sample, so that looking costs next to nothing
)

// forwardedSample tells by a sample of the requests from public peers whether these look
// like proxies. It is safe for concurrent use; overlapping samples do no harm.
type forwardedSample struct {
	asked, with atomic.Int32
	later       atomic.Bool // the first sample is complete
	proxied     atomic.Bool // the latest complete sample says so
}

// looksProxied adds a request to the sample, with a forwarding header or without.
func (s *forwardedSample) looksProxied(with bool) bool {
	if with {
		s.with.Add(1)
	}
	if s.asked.Add(1) == sampleSize {
		s.proxied.Store(s.with.Swap(0) >= sampleMost)
		s.later.Store(true)
		s.asked.Store(0)
	}
	return s.proxied.Load()
}

// sampled chooses about one of sampleEvery requests by chance, so traffic in which every
// second request is special is sampled fairly.
func sampled() bool { return rand.Uint32()%sampleEvery == 0 } //nolint:gosec // no secret

// warnedOf holds the sets of trusted proxies whose throttles have logged one to
// slog.Default: the cure is the same for all that trust the same. It grows with what an
// application configures, not with what clients send.
var warnedOf sync.Map

// warnOfProxy logs that a forwarding header is not believed; header is its number as
// [clientip.Present] returns it. Anybody can write the header's content, and a public
// peer's address may be an identity: neither is logged.
func (s *settings) warnOfProxy(r *Request, header uint8) {
	if !s.warner.once(warnUntrustedProxy) {
		return
	}
	if s.warner.logger == nil {
		if _, told := warnedOf.LoadOrStore(s.identifier.trusts, true); told {
			return
		}
	}
	name := slog.String("header", clientip.Conventions[header-1].Name)
	if peer, ok := clientip.ReadHop(r.RemoteAddr); ok && clientip.IsPrivate(peer) {
		s.log(r.context(), "traffik: a forwarding header from a private peer is ignored, so all clients behind that peer share one limit; "+
			"if the peer is your proxy, name it with ClientIP(WithTrustedProxies(...)), or drop the header before it gets here",
			slog.String("peer", peer.String()), name)
		return
	}
	s.log(r.context(), "traffik: nearly all requests carry a forwarding header, which is ignored, so all clients behind one peer share one limit; "+
		"if the peers are your proxies, name them with ClientIP(WithTrustedProxies(...)), or drop the header before it gets here", name)
}
