// Package escape makes texts of any origin safe as parts of a key.
package escape

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"unique"
)

// maxBytes is the longest part of a key that is kept readable; longer ones are hashed, so
// that a caller can't make huge keys.
const maxBytes = 96

// Part makes text of any origin safe as one part of a key: printable ASCII and bytes from
// 0x80 on stay, while space, control characters, "%", "|", "+", "#", "{" and "}" become
// %XX, and parts over 96 bytes their hash. Different texts give different parts. It does
// not allocate for text that needs no change.
func Part(text string) string {
	if len(text) > maxBytes {
		return Hash(text)
	}
	for i := range len(text) {
		if Needed(text[i]) {
			return percentEncode(text)
		}
	}
	return text
}

// Hash returns "#" and 128 bits of the SHA-256 of text in base64url: nobody can find two
// texts with the same hash, and the hash doesn't reveal a secret with enough entropy.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "#" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Scope returns the scope of a key, see store.ScopeOf.
func Scope(uid, strategyID string) unique.Handle[string] {
	return unique.Make(Part(uid) + "|" + Part(strategyID))
}

// Needed reports whether [Part] escapes c.
func Needed(c byte) bool {
	switch c {
	case '%', '|', '+', '#', '{', '}', 0x7f:
		return true
	}
	return c <= ' '
}

func percentEncode(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; Needed(c) {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
