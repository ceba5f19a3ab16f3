// Command quick measures every workload with all contenders in turn, in many
// short rounds of changing order, and prints how each of ours compares with the
// best of the others. The figure of a contender is the median of its rounds.
// Ratios of one run mean something; single times do not.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"

	"github.com/traffik-go/traffik/benchmarks"
)

var (
	only   = flag.String("only", "", "measure the workloads that match this regular expression")
	rounds = flag.Int("rounds", 101, "rounds of each contender")
)

// slice is roughly how long a round takes: long enough for the clock, and so short that
// other work on the machine interrupts few rounds.
const slice = 300 * time.Microsecond

func main() {
	flag.Parse()
	wanted := regexp.MustCompile(*only)
	keys := benchmarks.Keys(1_000_000)
	for _, c := range benchmarks.Contenders() {
		must("checking", c.Check())
	}
	fmt.Printf("# %s %s/%s, %d cores; ns per decision, median of %d rounds\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), *rounds)
	for _, w := range benchmarks.Workloads {
		if wanted.MatchString(w.Name) {
			decisions(w, keys)
		}
	}
	for _, framework := range benchmarks.Frameworks {
		if name := "middleware-" + framework; wanted.MatchString(name) {
			middleware(name, framework)
		}
	}
	if name := "bytes-per-key"; wanted.MatchString(name) {
		memory(name, keys)
	}
}

// must ends the program on an error of the named contender or workload.
func must(name string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// figure is the result of one contender.
type figure struct {
	name  string
	ours  bool
	value float64
}

// timed can be measured in rounds of n calls.
type timed interface {
	Round(n int) float64
}

func decisions(w benchmarks.Workload, keys []string) {
	contenders := benchmarks.Contenders()
	benches := make([]timed, len(contenders))
	prepared := make([]*benchmarks.Bench, len(contenders))
	for i, c := range contenders {
		prepared[i] = benchmarks.Prepare(c, w, keys)
		benches[i] = prepared[i]
	}
	n := *rounds
	if w.Fresh || w.Keys > 100_000 {
		n = max(1, n/20) // its rounds are that much longer
	}
	figures := make([]figure, len(contenders))
	for i, value := range inTurn(benches, n) {
		figures[i] = figure{contenders[i].Name, contenders[i].Ours, value}
	}
	for i, b := range prepared {
		must(contenders[i].Name, b.Check())
		b.Close()
	}
	report(w.Name, figures)
}

// middleware reports how much each middleware adds to the bare handler.
func middleware(name, framework string) {
	all := benchmarks.Middlewares(framework)
	served := make([]timed, len(all))
	for i, m := range all {
		must(framework, m.Check())
		served[i] = benchmarks.Serve(m, benchmarks.Limit{Units: 1_000_000_000, Period: 24 * time.Hour})
	}
	var figures []figure
	var bare float64
	for i, value := range inTurn(served, *rounds) {
		if all[i].Bare {
			bare = value
			continue
		}
		figures = append(figures, figure{all[i].Name, all[i].Ours, value - bare})
	}
	report(name, figures)
}

func memory(name string, keys []string) {
	var figures []figure
	for _, c := range benchmarks.Contenders() {
		figures = append(figures, figure{c.Name, c.Ours, benchmarks.BytesPerKey(c, keys)})
	}
	report(name, figures)
}

// callsFor is how many calls make a slice.
func callsFor(b timed) int {
	const probes, calls = 9, 500
	fastest := float64(slice)
	start := time.Now()
	for range probes {
		fastest = min(fastest, b.Round(calls))
		if time.Since(start) > 100*slice {
			break // this contender chooses the length of its rounds
		}
	}
	return int(float64(slice) / fastest)
}

// inTurn returns the median of n rounds of each. The collector rests meanwhile,
// since it would charge one contender for the garbage of another, and runs
// between rounds as often as it would by itself. So a contender that allocates gets
// memory that was used before, as in a server, and not always new pages.
func inTurn(benches []timed, n int) []float64 {
	calls := make([]int, len(benches))
	for i, b := range benches {
		calls[i] = callsFor(b)
	}
	taken := make([][]float64, len(benches))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var garbage collector
	garbage.collect()
	for range n {
		for _, i := range rand.Perm(len(benches)) { //nolint:gosec // no secret
			taken[i] = append(taken[i], benches[i].Round(calls[i]))
			if garbage.due() {
				garbage.collect()
			}
		}
	}
	medians := make([]float64, len(benches))
	for i := range taken {
		slices.Sort(taken[i])
		medians[i] = taken[i][len(taken[i])/2]
	}
	return medians
}

// collector is the pace of Go's collector: it runs when as much has been allocated
// as was in use after its last run, 4 MiB at least.
type collector struct{ start, live uint64 }

func (c *collector) due() bool {
	return heap("/gc/heap/allocs:bytes")-c.start > max(4<<20, c.live)
}

func (c *collector) collect() {
	runtime.GC()
	c.start, c.live = heap("/gc/heap/allocs:bytes"), heap("/gc/heap/live:bytes")
}

func heap(metric string) uint64 {
	sample := []metrics.Sample{{Name: metric}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// report prints a line for each of ours, and all contenders on standard error.
func report(name string, figures []figure) {
	var best figure
	for _, f := range figures {
		fmt.Fprintf(os.Stderr, "%-28s %-26s %7.1f\n", name, f.name, f.value)
		if !f.ours && (best.name == "" || f.value < best.value) {
			best = f
		}
	}
	for _, f := range figures {
		if f.ours {
			fmt.Printf("%s/%s ours=%.1f best=%s:%.1f ratio=%.2f\n", name, f.name, f.value, best.name, best.value, f.value/best.value)
		}
	}
}
