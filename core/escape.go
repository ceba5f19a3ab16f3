package traffik

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// maxPartBytes is the longest part of a key that is kept readable; longer ones
// are hashed, so that a caller can't make keys of any size.
const maxPartBytes = 96

// escapePart makes text of any origin safe as one part of a key: printable
// ASCII and bytes from 0x80 on stay, while space, control characters, "%", "|",
// "+", "#", "{" and "}" become %XX, and parts over 96 bytes their hash. Different
// texts give different parts. It does not allocate for text that needs nothing.
func escapePart(text string) string {
	if len(text) > maxPartBytes {
		return hashPart(text)
	}
	for i := range len(text) {
		if mustEscape(text[i]) {
			return percentEncode(text)
		}
	}
	return text
}

// hashPart returns "#" and 128 bits of the SHA-256 of text in base64url: long
// enough that nobody finds two texts with one hash on purpose within reach,
// and no way back to a secret of real entropy.
func hashPart(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "#" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

func mustEscape(c byte) bool {
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
		if c := text[i]; mustEscape(c) {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
