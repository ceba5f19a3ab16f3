package advanced

import (
	"errors"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/internal/count"
)

// State: the time of the last write, the count and the factor, 25 bytes. Source: Chiu and
// Jain, "Analysis of the increase and decrease algorithms for congestion avoidance in
// computer networks", 1989.

// Adaptive lowers the limit of a key under load and raises it again when the load is gone:
// additive increase, multiplicative decrease, once per window. Within a window the limit
// is constant: the factor times the rate's limit, rounded down, at least 1.
//
// After a window that used more than Threshold of its limit, the factor is multiplied by
// Reduction, but never falls below Floor. After any other window, and for each idle one,
// the factor grows by Recovery, up to 100 percent. It admits the rate's limit in each
// window.
type Adaptive struct {
	// Threshold is the part of a window's limit above which the window counts as loaded; 0
	// means 80 percent.
	Threshold PPM
	// Reduction is the part of the factor that remains after a loaded window; 0 means 50
	// percent.
	Reduction PPM
	// Recovery is added to the factor after each other window; 0 means 10 percent.
	Recovery PPM
	// Floor is the lowest factor, even for keys that were lowered under another Floor; 0
	// means 10 percent.
	Floor PPM
}

// adaptiveTag marks the layout t, n, f.
const adaptiveTag = 'A'

// ID implements [traffik.Strategy].
func (Adaptive) ID() string { return "adaptive.1" }

// MaxStateBytes implements [traffik.StateSizer].
func (Adaptive) MaxStateBytes(traffik.Rate) int { return 1 + 3*8 }

// Validate returns an error wrapping [traffik.ErrConfig] unless each parameter is 0 to the
// whole.
func (s Adaptive) Validate() error {
	return errors.Join(s.Threshold.check("Adaptive.Threshold"), s.Reduction.check("Adaptive.Reduction"),
		s.Recovery.check("Adaptive.Recovery"), s.Floor.check("Adaptive.Floor"))
}

func (s Adaptive) withDefaults() Adaptive {
	return Adaptive{
		Threshold: orElse(s.Threshold, Percent(80)),
		Reduction: orElse(s.Reduction, Percent(50)),
		Recovery:  orElse(s.Recovery, Percent(10)),
		Floor:     orElse(s.Floor, Percent(10)),
	}
}

// Decide implements [traffik.Strategy].
func (s Adaptive) Decide(dst, state []byte, d *traffik.Draw) (next []byte, dec traffik.Decision) {
	s = s.withDefaults()
	l := s.read(state, d)
	write := l.draw(d, scaled(d.Rate, l.factor), &dec)
	if !dec.Allowed {
		dec.RetryAfter = s.retryAfter(&l, d)
	}
	if l.N == 0 && l.factor == Whole {
		return dst, dec
	}
	dec.ResetAfter = s.resetAfter(&l, d)
	if write {
		dst = count.AppendState(dst, adaptiveTag, int64(dec.At), l.N, int64(l.factor))
	}
	return dst, dec
}

// load is the count of a window and the factor of its limit.
type load struct {
	windowCount
	factor PPM
}

func (s Adaptive) read(state []byte, d *traffik.Draw) (l load) {
	var factor int64
	now, p := int64(d.Now), periodMicros(d.Rate)
	ok := count.ReadState(state, adaptiveTag, &l.T, &l.N, &factor) && factor <= int64(Whole)
	l.factor = max(s.Floor, PPM(factor)) // it may have been written under a lower Floor
	if !ok || l.N == 0 && l.factor == Whole {
		l.T, l.N, l.factor = now, 0, Whole
	}
	l.Window = count.WindowAt(l.T, now, p)
	if l.Rolled > 0 {
		l.factor = s.next(l.N, l.factor, d.Rate)
		l.factor += s.recovered(l.Rolled-1, Whole-l.factor)
		l.N = 0
	}
	return l
}

// next returns the factor of the window after one that used n units.
func (s Adaptive) next(n int64, factor PPM, r traffik.Rate) PPM {
	if n > s.Threshold.of(scaled(r, factor)) {
		return max(s.Floor, PPM(s.Reduction.of(int64(factor))))
	}
	return min(Whole, factor+s.Recovery)
}

// recovered returns what the number of idle windows adds to the factor, at most missing.
func (s Adaptive) recovered(windows int64, missing PPM) PPM {
	if windows >= s.windowsFor(missing) {
		return missing
	}
	return PPM(windows) * s.Recovery
}

// windowsFor returns the number of idle windows that raise the factor by missing.
func (s Adaptive) windowsFor(missing PPM) int64 {
	return int64((missing + s.Recovery - 1) / s.Recovery)
}

// retryAfter is the time until a window's limit is enough for the cost, if nothing is used
// until then.
func (s Adaptive) retryAfter(l *load, d *traffik.Draw) time.Duration {
	if d.Cost > d.Rate.Limit() {
		return traffik.Never
	}
	factor := s.next(l.N, l.factor, d.Rate)
	if d.Cost <= scaled(d.Rate, factor) {
		return s.after(0, l, d)
	}
	needed := PPM(count.MulDivCeil(d.Cost, int64(Whole), 0, d.Rate.Limit()))
	return s.after(s.windowsFor(needed-factor), l, d)
}

// resetAfter is the time until the factor is whole and nothing is counted.
func (s Adaptive) resetAfter(l *load, d *traffik.Draw) time.Duration {
	return s.after(s.windowsFor(Whole-s.next(l.N, l.factor, d.Rate)), l, d)
}

// after is the time until this window has ended and as many more.
func (s Adaptive) after(windows int64, l *load, d *traffik.Draw) time.Duration {
	us, _ := count.MulDivMod(windows, periodMicros(d.Rate), l.End-int64(d.Now), 1)
	return micros(us)
}

// AdaptiveInfo describes a key counted by [Adaptive]; see [traffik.Subject.Describe].
type AdaptiveInfo struct {
	// WindowInfo describes the window; its Limit is the adapted one.
	traffik.WindowInfo
	// Factor is the window's part of the rate's limit.
	Factor PPM
}

// Describe implements [traffik.Describer] with an [AdaptiveInfo].
func (s Adaptive) Describe(state []byte, d *traffik.Draw) any {
	l := s.withDefaults().read(state, d)
	return AdaptiveInfo{WindowInfo: windowInfo(l.Window, scaled(d.Rate, l.factor), l.N), Factor: l.factor}
}
