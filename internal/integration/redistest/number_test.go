package redistest

import (
	"fmt"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// TestNumbersInLua compares the script's one piece of arithmetic with math/big,
// at and around the sizes where doubles stop being exact.
func TestNumbersInLua(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../../backends/redis/script/number.lua")
	if err != nil {
		t.Fatal(err)
	}
	script := redis.NewScript(string(source) + `
		local out = {}
		for i = 1, #ARGV, 4 do
			local up, q, r = muldiv(ARGV[i] + 0, ARGV[i + 1] + 0, ARGV[i + 2] + 0, ARGV[i + 3] + 0)
			out[#out + 1] = string.format('%.0f %.0f %.0f', up, q, r)
		end
		return out`)
	client := newClient(t, servers.Redis(t).Addr)
	numbers := []int64{
		0, 1, 2, 3, 7, 1000, 999_983, 60_000_000, 1<<31 - 1, 1 << 32, 1<<52 - 1, 1 << 52, 1<<52 + 1,
		traffik.MaxUnits - 2, traffik.MaxUnits - 1, traffik.MaxUnits,
	}
	for _, a := range numbers {
		for _, b := range numbers {
			var args []any
			var want []string
			for _, plus := range numbers {
				for _, m := range numbers[1:] {
					args = append(args, a, b, plus, m)
					want = append(want, quotient(a, b, plus, m))
				}
			}
			got, err := script.Run(t.Context(), client, []string{"n"}, args...).StringSlice()
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("(%d*%d+%d)/%d is %s in Lua, want %s", a, b, args[4*i+2], args[4*i+3], got[i], want[i])
				}
			}
		}
	}
}

// TestLargeProductsOfASlidingWindow: at 10,000 in 30 days what the window before
// counts is a product that no double holds. The instants are such that the weight
// is one microsecond past a whole unit, which rounds up.
func TestLargeProductsOfASlidingWindow(t *testing.T) {
	t.Parallel()
	const limit, period = 10_000, 30 * 24 * time.Hour
	const micros = int64(period / time.Microsecond)
	const start = traffik.Instant(600 * micros) // of a window
	backend, setNow := onClock(t, newClient(t, servers.Redis(t).Addr), traffikredis.WithNamespace("products"))
	tried := 0
	for before := int64(3_500); before < limit-1; before += 13 {
		inverse := new(big.Int).ModInverse(big.NewInt(before), big.NewInt(micros))
		if inverse == nil {
			continue
		}
		rest := inverse.Int64() // before*rest is a whole number of periods, and 1
		op := in("sliding", fmt.Sprint(before), before)
		op.Strategy, op.Draw.Rate = traffik.SlidingWindowCounter{}, traffik.Per(limit, period)
		setNow(start)
		take(t, backend, op)
		setNow(start + traffik.Instant(2*micros-rest))
		sum := new(big.Int).Mul(big.NewInt(before), big.NewInt(rest))
		room := limit - (new(big.Int).Div(sum, big.NewInt(micros)).Int64() + 1)
		for _, cost := range []int64{room + 1, room} { // the first is too much, by one
			op.Draw.Cost = cost
			got, remaining := take(t, backend, op)[0], left(t, backend, op)
			want := room
			if cost == room {
				want = 0
			}
			if got.Allowed != (cost == room) || got.Remaining != want || remaining != want {
				t.Errorf("%d drawn, %d µs before the end of the next window, %d more: %+v, %d in Redis; want %d to remain", before, rest, cost, got, remaining, want)
			}
		}
		tried++
	}
	if tried < 100 {
		t.Errorf("%d numbers tried", tried)
	}
}

// quotient is (a*b+plus)/m rounded up, rounded down, and the remainder, as the scripts tell them.
func quotient(a, b, plus, m int64) string {
	sum := new(big.Int).Mul(big.NewInt(a), big.NewInt(b))
	sum.Add(sum, big.NewInt(plus))
	q, r := new(big.Int).QuoRem(sum, big.NewInt(m), new(big.Int))
	if q.Cmp(big.NewInt(traffik.MaxUnits)) > 0 {
		return fmt.Sprintf("%d %d 0", traffik.MaxUnits, traffik.MaxUnits)
	}
	up := q.Int64()
	if r.Sign() > 0 {
		up = min(up+1, traffik.MaxUnits)
	}
	return fmt.Sprintf("%d %v %v", up, q, r)
}
