package main

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"strconv"
	"time"
)

// The drawing: time runs from left to right. Above, a row of requests for each
// class; below, how much was admitted within the last period.
const (
	width     = 820
	left      = 76
	right     = 16
	rowsY     = 50 // the top of the first row
	rowHeight = 34
	plot      = 96 // the height of the plot below
	units     = 24 // the number of units that fit in it
)

const (
	ink, pale, lines   = "#24292f", "#57606a", "#d0d7de"
	admitted, denied   = "#1a7f37", "#cf222e"
	curve, secondCurve = "#0969da", "#8250df"
)

// picture is one under work.
type picture struct {
	bytes.Buffer
	s     subject
	rows  []string
	baseY float64 // the foot of the plot
}

func draw(s subject, marks []mark) []byte {
	p := &picture{s: s, rows: s.rows}
	if len(p.rows) == 0 {
		p.rows = []string{""}
	}
	p.baseY = float64(rowsY + len(p.rows)*rowHeight + 18 + plot)
	p.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" font-family="sans-serif" font-size="12">`+"\n", width, p.baseY+24)
	p.printf("<title>%s</title>\n", html.EscapeString(s.title))
	p.printf(`<rect width="100%%" height="100%%" fill="#ffffff"/>` + "\n")
	p.text(left, 18, "start", ink, s.title)
	p.grid()
	p.requests(marks)
	p.curves(marks)
	p.WriteString("</svg>\n")
	return p.Bytes()
}

func (p *picture) x(at time.Duration) float64 {
	return left + at.Seconds()/p.s.duration().Seconds()*(width-left-right)
}

func (p *picture) y(n int64) float64 { return p.baseY - float64(n)*plot/units }

func (p *picture) printf(format string, args ...any) {
	fmt.Fprintf(&p.Buffer, format, args...)
}

func (p *picture) text(x, y float64, anchor, color, text string) {
	p.printf(`<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, color, html.EscapeString(text))
}

func (p *picture) line(x1, y1, x2, y2, width float64, color, more string) {
	p.printf(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g"%s/>`+"\n", x1, y1, x2, y2, color, width, more)
}

// grid draws the windows, the axes and the notes.
func (p *picture) grid() {
	for at := time.Duration(0); at <= p.s.duration(); at += period {
		p.line(p.x(at), rowsY-8, p.x(at), p.baseY, 1, lines, "")
		p.text(p.x(at), p.baseY+15, "middle", pale, fmt.Sprintf("%d s", int(at.Seconds())))
	}
	for _, n := range []int64{0, limit, 2 * limit} {
		dash := ""
		if n > 0 {
			dash = ` stroke-dasharray="3 3"`
		}
		p.line(left, p.y(n), width-right, p.y(n), 1, lines, dash)
		p.text(left-6, p.y(n)+4, "end", pale, strconv.FormatInt(n, 10))
	}
	p.text(8, p.y(units)+4, "start", pale, "in 10 s")
	for i, row := range p.rows {
		p.text(8, p.rowY(i)+4, "start", pale, row)
	}
	for _, n := range p.s.notes {
		p.text(p.x(n.at)+3, rowsY-12, "start", pale, n.text)
	}
}

// rowY is the middle of a row.
func (p *picture) rowY(i int) float64 { return rowsY + (float64(i)+0.5)*rowHeight }

// requests draws admitted ones upwards and green where they start, denied ones
// downwards and red; costs above 1 are wider.
func (p *picture) requests(marks []mark) {
	passed, refused := int64(0), 0
	for _, m := range marks {
		y, thick := p.rowY(slices.Index(p.rows, m.row)), 0.9+0.5*float64(m.cost)
		if m.admitted {
			passed += m.cost
			x := p.x(m.at + m.delay)
			p.line(x, y-14, x, y, thick, admitted, "")
			continue
		}
		refused++
		p.line(p.x(m.at), y+2, p.x(m.at), y+9, thick, denied, "")
	}
	p.text(width-right, 18, "end", pale, fmt.Sprintf("%d units admitted, %d requests denied, at most %d in 10 s", passed, refused, peak(marks)))
}

// curves draws for each caller how much was admitted within the last period.
func (p *picture) curves(marks []mark) {
	colors := []string{curve, secondCurve}
	for i, caller := range callers(marks) {
		p.printf(`<path d="M%.1f %.1f`, p.x(0), p.y(0))
		for _, s := range sums(marks, caller) {
			if s.at <= p.s.duration() {
				p.printf(" H%.1f V%.1f", p.x(s.at), p.y(s.n))
			}
		}
		p.printf(` H%.1f" fill="none" stroke="%s" stroke-width="1.6"/>`+"\n", p.x(p.s.duration()), colors[i])
	}
}

func callers(marks []mark) (names []string) {
	for _, m := range marks {
		if !slices.Contains(names, m.caller) {
			names = append(names, m.caller)
		}
	}
	return names
}

// sum is the units admitted within the period that ends at an instant.
type sum struct {
	at time.Duration
	n  int64
}

// sums has an entry for each change.
func sums(marks []mark, caller string) (all []sum) {
	for _, m := range marks {
		if m.admitted && m.caller == caller {
			all = append(all, sum{m.at + m.delay, m.cost}, sum{m.at + m.delay + period, -m.cost})
		}
	}
	// What ends at an instant is no longer in the period that begins there.
	slices.SortStableFunc(all, func(a, b sum) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return int(a.n - b.n)
	})
	for i := range all {
		if i > 0 {
			all[i].n += all[i-1].n
		}
	}
	return all
}

// peak is the most that any caller was admitted in any period.
func peak(marks []mark) (most int64) {
	for _, caller := range callers(marks) {
		for _, s := range sums(marks, caller) {
			most = max(most, s.n)
		}
	}
	return most
}
