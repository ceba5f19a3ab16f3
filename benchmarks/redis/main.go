// Command redis compares decisions kept in Redis with those of redis_rate, in
// rounds of changing order on one server. It starts redis-server, or uses the
// one at REDIS. For each workload it prints how many decisions a second each
// makes, with the 99th percentile of their latency and Redis' own CPU time for
// each, and how ours compares: the median of the ratios of all rounds. Ratios of
// one run mean something; single figures do not. With the argument hot it measures draws
// on one key over a slow network instead, from one process and from eight.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-redis/redis_rate/v10"
	goredis "github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
)

const (
	rounds = 21
	// slice is how long one contender runs in a round. It is short, so that all contenders
	// of a round find the machine in the same state.
	slice = 150 * time.Millisecond
	// keys is the number of keys that each caller goes through.
	keys = 100
	// limit, per hour, is never reached. redis_rate can count it: at 10^9 a second, one
	// draw takes less time than its floating-point numbers can tell apart, and it writes
	// nothing.
	limit  = 1_000_000_000
	period = time.Hour
)

// workload is a number of callers. Each has separate keys, or all share one.
type workload struct {
	name    string
	callers int
	hot     bool
	// stays says that the callers' context can't end, such as in a job. The context
	// of a request can.
	stays bool
}

var workloads = []workload{
	{name: "one-caller", callers: 1, stays: true},
	{name: "one-caller-that-may-leave", callers: 1},
	{name: "64-callers-distinct-keys", callers: 64},
	{name: "64-callers-one-key", callers: 64, hot: true},
}

// allow decides on one key.
type allow func(ctx context.Context, key string) (bool, error)

type contender struct {
	name  string
	allow allow
}

// figures are the results of one contender in one round.
type figures struct {
	perSecond float64
	p99       time.Duration
	cpu       float64 // microseconds of Redis for a decision
}

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "bench-redis:", err)
		os.Exit(1)
	}
}

func start() error {
	if text := os.Getenv(hotVariable); text != "" {
		var task hotTask
		if err := json.Unmarshal([]byte(text), &task); err != nil {
			return err
		}
		return task.draw()
	}
	if len(os.Args) > 1 && os.Args[1] == "hot" {
		return hot()
	}
	return run()
}

func run() error {
	addr, stop, err := server()
	if err != nil {
		return err
	}
	defer stop()
	client := goredis.NewClient(&goredis.Options{Addr: addr})
	defer func() { _ = client.Close() }()
	all, done, err := contenders(client)
	if err != nil {
		return err
	}
	defer done()
	fmt.Printf("# %s %s/%s, %d cores; median of %d rounds; decisions a second, p99, Redis' CPU for one\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), rounds)
	for _, c := range all {
		if err := counts(client, c); err != nil {
			return err
		}
	}
	for _, w := range workloads {
		if err := measure(client, w, all); err != nil {
			return err
		}
	}
	return nil
}

// contenders are redis_rate, the first, and ours, as their users call them.
func contenders(client *goredis.Client) ([]contender, func(), error) {
	peer := redis_rate.NewLimiter(client)
	peerLimit := redis_rate.Limit{Rate: limit, Burst: limit, Period: period}
	all := []contender{{name: "redis_rate", allow: func(ctx context.Context, key string) (bool, error) {
		res, err := peer.Allow(ctx, key, peerLimit)
		return err == nil && res.Allowed > 0, err
	}}}
	backend, err := traffikredis.New(client)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range []traffik.Strategy{traffik.GCRA{Burst: limit}, traffik.FixedWindow{}, traffik.SlidingWindowCounter{}} {
		name, _, _ := strings.Cut(s.ID(), ".")
		t, err := traffik.New("bench:"+name, traffik.Per(limit, period), traffik.WithStrategy(s),
			traffik.WithBackend(backend), traffik.WithErrorPolicy(traffik.Propagate))
		if err != nil {
			return nil, nil, err
		}
		all = append(all, contender{name: name, allow: func(ctx context.Context, key string) (bool, error) {
			res, err := t.Key(key).Hit(ctx)
			return res.Allowed, err
		}})
	}
	return all, func() { _ = backend.Close() }, nil
}

// counts checks whether each decision of c leaves something in Redis.
func counts(client *goredis.Client, c contender) error {
	ctx := context.Background()
	if err := client.ConfigResetStat(ctx).Err(); err != nil {
		return err
	}
	const draws = 100
	for range draws {
		if _, err := c.allow(ctx, "user:0"); err != nil {
			return err
		}
	}
	stats, err := client.InfoMap(ctx, "commandstats").Result()
	if err != nil {
		return err
	}
	if set := stats["Commandstats"]["cmdstat_set"]; !strings.HasPrefix(set, fmt.Sprintf("calls=%d,", draws)) {
		return fmt.Errorf("%s: %d decisions wrote this: %q", c.name, draws, set)
	}
	return nil
}

func measure(client *goredis.Client, w workload, all []contender) error {
	got := make([][]figures, len(all))
	for round := range rounds + 1 {
		for _, i := range rand.Perm(len(all)) {
			f, err := w.round(client, all[i])
			if err != nil {
				return fmt.Errorf("%s, %s: %w", w.name, all[i].name, err)
			}
			if round > 0 { // the first warms up
				got[i] = append(got[i], f)
			}
		}
	}
	report(w, all, got)
	return nil
}

// report prints the median of each figure, and the ratio of ours to the peer's.
func report(w workload, all []contender, got [][]figures) {
	for i, c := range all {
		median := func(field func(round int) float64) float64 {
			values := make([]float64, len(got[i]))
			for round := range values {
				values[round] = field(round)
			}
			slices.Sort(values)
			return values[len(values)/2]
		}
		line := fmt.Sprintf("%s/%s %.0f/s p99=%.0fµs cpu=%.2fµs", w.name, c.name,
			median(func(round int) float64 { return got[i][round].perSecond }),
			median(func(round int) float64 { return float64(got[i][round].p99.Nanoseconds()) / 1e3 }),
			median(func(round int) float64 { return got[i][round].cpu }))
		if i > 0 {
			line += fmt.Sprintf(" ratio=%.2f", median(func(round int) float64 { return got[i][round].perSecond / got[0][round].perSecond }))
		}
		fmt.Println(line)
	}
}

// round lets all callers decide for a while.
func (w workload) round(client *goredis.Client, c contender) (figures, error) {
	ctx := context.Background()
	if !w.stays {
		leaving, cancel := context.WithCancel(ctx)
		defer cancel()
		ctx = leaving
	}
	latencies := make([][]time.Duration, w.callers)
	failures := make([]error, w.callers)
	runtime.GC()
	before, err := cpu(ctx, client)
	if err != nil {
		return figures{}, err
	}
	start := time.Now()
	var wg sync.WaitGroup
	for caller := range w.callers {
		wg.Go(func() {
			latencies[caller], failures[caller] = w.call(ctx, c, caller, start.Add(slice))
		})
	}
	wg.Wait()
	took := time.Since(start)
	after, err := cpu(ctx, client)
	if err := errors.Join(append(failures, err)...); err != nil {
		return figures{}, err
	}
	every := slices.Concat(latencies...)
	slices.Sort(every)
	n := float64(len(every))
	return figures{perSecond: n / took.Seconds(), p99: every[len(every)*99/100], cpu: (after - before) * 1e6 / n}, nil
}

// call decides until the end and returns how long each decision took.
func (w workload) call(ctx context.Context, c contender, caller int, end time.Time) ([]time.Duration, error) {
	names := make([]string, keys)
	for i := range names {
		names[i] = "user:" + strconv.Itoa(1_000_000+caller*keys+i)
		if w.hot {
			names[i] = "user:1"
		}
	}
	latencies := make([]time.Duration, 0, 1<<16)
	for i := 0; ; i++ {
		start := time.Now()
		if start.After(end) {
			return latencies, nil
		}
		allowed, err := c.allow(ctx, names[i%keys])
		if err != nil {
			return nil, err
		}
		if !allowed {
			return nil, errors.New("a limit that is never reached was reached")
		}
		latencies = append(latencies, time.Since(start))
	}
}

// cpu is the CPU time that Redis has used so far, in seconds.
func cpu(ctx context.Context, client *goredis.Client) (float64, error) {
	info, err := client.Info(ctx, "cpu").Result()
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			sum += seconds
		}
	}
	return sum, nil
}
