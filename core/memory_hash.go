package traffik

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// hashKey is the secret of a [Memory]'s hash: without it nobody can choose identities that
// collide.
//
// The hash folds 128-bit products of text and key, as Go's maps do on processors without AES
// instructions. maphash.String takes three times as long for a short identity, most of it in
// four calls.
type hashKey [3]uint64

func newHashKey() (k hashKey) {
	seed := maphash.MakeSeed()
	for i := range k {
		k[i] = maphash.Comparable(seed, i)
	}
	return k
}

// of returns the hash of s.
func (k *hashKey) of(s string) uint64 {
	length, state := uint64(len(s)), k[0]
	for len(s) > 16 {
		state = fold(load64(s)^k[1], load64(s[8:])^state)
		s = s[16:]
	}
	var a, b uint64
	switch n := len(s); {
	case n >= 8:
		a, b = load64(s), load64(s[n-8:])
	case n >= 4:
		a, b = load32(s), load32(s[n-4:])
	case n > 0:
		a = uint64(s[0])<<16 | uint64(s[n/2])<<8 | uint64(s[n-1])
	}
	return fold(k[2]^length, fold(a^k[1], b^state))
}

const fingerprintBytes = 16

// seeds are the secret seeds of fingerprints, one pair for each process.
var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// fingerprint stands for a long identity: 128 bits that nobody outside the process can
// predict. Two identities with the same fingerprint and hash would share their counters.
// Among a million identities that happens by chance in one of 2^150 processes.
func fingerprint(id string) (print [fingerprintBytes]byte) {
	binary.LittleEndian.PutUint64(print[:], maphash.String(seeds[0], id))
	binary.LittleEndian.PutUint64(print[8:], maphash.String(seeds[1], id))
	return print
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// load64 reads the first 8 bytes of s, in one instruction.
func load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// load32 reads the first 4 bytes of s.
func load32(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}
