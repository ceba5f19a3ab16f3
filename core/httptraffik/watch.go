package httptraffik

import (
	"context"
	"net/http"

	traffik "github.com/traffik-go/traffik/core"
)

// Watch looks at the response of one request for [CountOnly]. Adapters are made of
// it. It belongs to the goroutine that writes the response.
type Watch struct {
	recorder serverHTTP1
	guard    *Guard
	ctx      context.Context // of the request
	verdict  traffik.Verdict
	settled  bool
}

// Watch begins to look at the response to the request with the context ctx, judged
// with v, which is written to w.
func (g *Guard) Watch(ctx context.Context, v traffik.Verdict, w http.ResponseWriter) *Watch {
	watch := &Watch{guard: g, ctx: ctx, verdict: v}
	watch.recorder.recorder = recorder{ResponseWriter: w, sent: watch, told: v}
	return watch
}

// Writer returns the writer to use in place of the one that is watched. It has
// the same abilities, and leaves one value of each header of the verdict, as that of
// [Exchange.Writer].
func (w *Watch) Writer() http.ResponseWriter { return w.recorder.writer() }

// Status returns the status that was sent through [Watch.Writer], 0 if none was.
func (w *Watch) Status() int { return w.recorder.status }

// Sent tells that a response with this status is on its way to the client, while
// its handler may live for long. The charge is settled at once.
func (w *Watch) Sent(status int) {
	w.End(Ending{Status: status, Written: true})
}

// End settles the charge, unless that was done before.
func (w *Watch) End(e Ending) {
	w.recorder.finish()
	if !w.settled {
		w.settled = true
		w.guard.Settle(w.ctx, w.verdict, e)
	}
}
