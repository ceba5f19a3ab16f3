package traffik

import (
	"math/bits"
	"strconv"
	"strings"
	"testing"
)

// Identities of all lengths and of one pattern spread over shards and slots, and
// each byte of an identity counts.
func TestHashSpreads(t *testing.T) {
	t.Parallel()
	k := newHashKey()
	const n = 1 << 16
	var low, high [256]int
	seen := map[uint64]string{}
	for i := range n {
		id := "ip:10.0." + strconv.Itoa(i/256) + "." + strconv.Itoa(i%256) + strings.Repeat("x", i%40)
		h := k.of(id)
		if other, ok := seen[h]; ok {
			t.Fatalf("%q and %q collide", id, other)
		}
		seen[h] = id
		low[h%256]++
		high[h>>32%256]++
	}
	for i := range low {
		if most := n / 256 * 3 / 2; low[i] > most || high[i] > most {
			t.Errorf("%d and %d of %d identities in place %d of 256", low[i], high[i], n, i)
		}
	}
}

func TestHashFeelsEachByte(t *testing.T) {
	t.Parallel()
	k := newHashKey()
	flipped, total := 0, 0
	for length := 1; length < 70; length++ {
		for at := range length {
			id := []byte(strings.Repeat("a", length))
			before := k.of(string(id))
			id[at] ^= 1
			after := k.of(string(id))
			if before == after {
				t.Fatalf("byte %d of %d has no effect", at, length)
			}
			flipped += bits.OnesCount64(before ^ after)
			total += 64
		}
	}
	if share := flipped * 100 / total; share < 45 || share > 55 {
		t.Errorf("a changed byte flips %d%% of the bits, want about half", share)
	}
}

// Another store hashes otherwise, so that collisions can't be prepared.
func TestHashKeysDiffer(t *testing.T) {
	t.Parallel()
	a, b := newHashKey(), newHashKey()
	if a == b || a[0] == a[1] || a[1] == a[2] || a.of("user:42") == b.of("user:42") {
		t.Errorf("keys %x and %x", a, b)
	}
	if a.of("") == a.of("\x00") {
		t.Error("the length has no effect")
	}
}

// Long identities are told apart by their fingerprints, and from short ones that
// look like those.
func TestLongIdentities(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	throttle := newTestThrottle(t, "5/h", WithBackend(m))
	long := strings.Repeat("x", inlineIDBytes)
	print := fingerprint(long + "xx")
	ids := []string{long, long + "x", long + "xx", long + "xy", "y" + long, string(print[:]), string(print[:]) + "\x00\x00", strings.Repeat(long, 1000)}
	for want := int64(4); want >= 0; want-- {
		for _, id := range ids {
			if res := hit(t, throttle, id); res.Remaining != want {
				t.Errorf("%.20q of %d bytes: %d remaining, want %d", id, len(id), res.Remaining, want)
			}
		}
	}
	if m.Len() != len(ids) {
		t.Errorf("%d keys for %d identities", m.Len(), len(ids))
	}
}
