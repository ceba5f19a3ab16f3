package benchmarks

import "runtime"

// BytesPerKey returns how many bytes c holds for each key when it knows n keys. The text of
// the keys is not counted where a contender keeps the caller's string.
func BytesPerKey(c Contender, keys []string) float64 {
	before := heap()
	allow, stop := c.New(plentyForMany, len(keys))
	for _, key := range keys {
		allow(key)
	}
	after := heap()
	runtime.KeepAlive(allow)
	stop()
	return (float64(after) - float64(before)) / float64(len(keys))
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools held on to
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
