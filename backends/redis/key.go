package traffikredis

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	traffik "github.com/traffik-go/traffik/core"
)

// A key is namespace:{identity}!scope, so that all throttles of one caller lie
// in one slot of a Cluster, or namespace:{slot}identity!scope with [WithSlot].
// The parts are escaped, so that nothing a caller sends ends one of them.

// maxPartBytes is the longest escaped part of a key; of a longer one its hash is
// taken.
const maxPartBytes = 128

// plain are the bytes that stand for themselves in a key. The others, those of
// "!", "#", braces, spaces, line ends and of letters beyond ASCII among them,
// become %XX.
var plain = func() (table [256]bool) {
	for c := range table {
		table[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~:@/|+=,", byte(c)) >= 0
	}
	return table
}()

// appendPart appends text escaped. Different texts give different parts; the
// empty one becomes "%", because Redis takes no empty hash tag.
func appendPart(dst []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	start := len(dst)
	for i := range len(text) {
		c := text[i]
		if plain[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
		if len(dst)-start > maxPartBytes {
			return appendHash(dst[:start], text)
		}
	}
	if text == "" {
		dst = append(dst, '%')
	}
	return dst
}

// appendHash appends "#" and 128 bits of the SHA-256 of text.
func appendHash(dst []byte, text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.AppendEncode(append(dst, '#'), sum[:16])
}

// appendKey appends the Redis key of key.
func (s *servers) appendKey(dst []byte, key traffik.Key) []byte {
	dst = append(dst, s.prefix...)
	if s.slot != "" {
		dst = append(dst, s.slot...)
		dst = append(dst, '}')
		dst = appendPart(dst, key.ID)
	} else {
		dst = appendPart(dst, key.ID)
		dst = append(dst, '}')
	}
	dst = append(dst, '!')
	return appendScope(dst, key.Scope.Value())
}

// appendScope appends a scope. Its parts are escaped already, so a "%" stays, unless other
// characters need escaping.
func appendScope(dst []byte, scope string) []byte {
	for i := range len(scope) {
		if !plain[scope[i]] && scope[i] != '%' {
			return appendPart(append(dst, '!'), scope)
		}
	}
	if len(scope) > 2*maxPartBytes {
		return appendHash(dst, scope)
	}
	return append(dst, scope...)
}

// slots is how many a Cluster has.
const slots = 16384

// hashSlot is the Cluster slot of a hash tag: its CRC-16 (XMODEM), as the Redis
// Cluster specification says.
func hashSlot(tag string) uint16 {
	var crc uint16
	for i := range len(tag) {
		crc = crc<<8 ^ crc16[byte(crc>>8)^tag[i]]
	}
	return crc % slots
}

var crc16 = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8 //nolint:gosec // 0 to 255
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()
