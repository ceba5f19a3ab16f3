package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
)

const (
	// hotCallers draw on one key in each process for hotTime, at hotDelay each way.
	hotCallers = 64
	hotTime    = 3 * time.Second
	hotDelay   = 1200 * time.Microsecond
	// hotVariable makes this program one of several processes.
	hotVariable = "TRAFFIK_BENCH_HOT"
)

// hotTask is one process: Addr and Strategy are its input, the other fields its answer.
type hotTask struct {
	Addr, Strategy          string
	Draws, Contended, Other int64
	First                   string // error
}

// hot measures draws on one key over a network with a delay, by strategies that Redis
// decides itself and that only Go decides, from one process and from eight.
func hot() error {
	addr, stop, err := server()
	if err != nil {
		return err
	}
	defer stop()
	slow, err := delayed(addr)
	if err != nil {
		return err
	}
	fmt.Printf("# draws a second on one key, %d callers a process, %v a round trip\n", hotCallers, 2*hotDelay)
	for _, strategy := range []string{"fixed_window", "tiered"} {
		for _, processes := range []int{1, 8} {
			var sum hotTask
			tasks, failures := make([]hotTask, processes), make([]error, processes)
			var wg sync.WaitGroup
			for i := range tasks {
				wg.Go(func() { tasks[i], failures[i] = hotProcess(hotTask{Addr: slow, Strategy: strategy}) })
			}
			wg.Wait()
			if err := errors.Join(failures...); err != nil {
				return err
			}
			for _, t := range tasks {
				sum.Draws, sum.Contended, sum.Other = sum.Draws+t.Draws, sum.Contended+t.Contended, sum.Other+t.Other
				sum.First += t.First
			}
			all := float64(sum.Draws + sum.Contended + sum.Other)
			fmt.Printf("%s processes=%d %.0f/s contended=%.2f%% other=%.2f%% %.200s\n", strategy, processes,
				float64(sum.Draws)/hotTime.Seconds(), 100*float64(sum.Contended)/all, 100*float64(sum.Other)/all, sum.First)
		}
	}
	return nil
}

// hotProcess runs this program as one process of a measurement.
func hotProcess(task hotTask) (hotTask, error) {
	text, err := json.Marshal(task)
	if err != nil {
		return task, err
	}
	cmd := exec.CommandContext(context.Background(), os.Args[0]) //nolint:gosec // this very program
	cmd.Env, cmd.Stderr = append(os.Environ(), hotVariable+"="+string(text)), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return task, err
	}
	err = json.Unmarshal(out, &task)
	return task, err
}

// draw draws with all callers until the time is up, and prints the task.
func (t *hotTask) draw() error {
	client := goredis.NewClient(&goredis.Options{Addr: t.Addr})
	defer func() { _ = client.Close() }()
	backend, err := traffikredis.New(client)
	if err != nil {
		return err
	}
	defer func() { _ = backend.Close() }()
	strategy := traffik.Strategy(traffik.FixedWindow{})
	if t.Strategy == "tiered" {
		strategy = advanced.Tiered{}
	}
	throttle, err := traffik.New("hot:"+t.Strategy, traffik.Per(limit, period), traffik.WithStrategy(strategy),
		traffik.WithBackend(backend), traffik.WithErrorPolicy(traffik.Propagate))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var draws, contended, other atomic.Int64
	var first atomic.Value
	end := time.Now().Add(hotTime)
	var wg sync.WaitGroup
	for range hotCallers {
		wg.Go(func() {
			for time.Now().Before(end) {
				switch _, err := throttle.Key("one").Hit(ctx); {
				case err == nil:
					draws.Add(1)
				case errors.Is(err, traffik.ErrContention):
					contended.Add(1)
				default:
					other.Add(1)
					first.CompareAndSwap(nil, err.Error())
				}
			}
		})
	}
	wg.Wait()
	t.Draws, t.Contended, t.Other = draws.Load(), contended.Load(), other.Load()
	t.First, _ = first.Load().(string)
	return json.NewEncoder(os.Stdout).Encode(t)
}

// delayed returns the address of a proxy to addr that delivers each packet hotDelay later.
func delayed(addr string) (string, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
			if err != nil {
				_ = in.Close()
				continue
			}
			go delay(out, in)
			go delay(in, out)
		}
	}()
	return listener.Addr().String(), nil
}

type packet struct {
	bytes []byte
	due   time.Time
}

// delay copies from one connection to another until one of them ends.
func delay(to, from net.Conn) {
	packets := make(chan packet, 1024)
	go func() {
		defer func() { _ = to.Close() }()
		for p := range packets {
			time.Sleep(time.Until(p.due)) //nolint:forbidigo // the delay of a network
			_, _ = to.Write(p.bytes)
		}
	}()
	defer close(packets)
	for {
		buf := make([]byte, 16<<10)
		n, err := from.Read(buf)
		if n > 0 {
			packets <- packet{buf[:n], time.Now().Add(hotDelay)}
		}
		if err != nil {
			return
		}
	}
}
