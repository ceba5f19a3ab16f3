package traffikmemcached

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	traffik "github.com/traffik-go/traffik/core"
)

// Memcached accepts keys of up to 250 bytes without spaces and control characters, and ends
// a command at a line break. Our keys are
//
//	namespace "~" scope "~" identity
//
// A short part of printable ASCII without "~" and "#" stays as it is. Any other part becomes
// "#" and its hash. So no text of a caller can end a part or look like a hash.
const (
	separator          = "~"
	hashMark           = "#"
	maxNamespaceBytes  = 64
	maxScopeBytes      = 80
	maxIdentityBytes   = 100
	hashBytes          = 16 // nobody can find two texts with the same 128 bits
	generationKeyWords = "generation"
)

// itemKey returns the key under which the state of key is stored.
func itemKey(namespace string, key traffik.Key) string {
	return namespace + separator + part(key.Scope.Value(), maxScopeBytes) + separator + part(key.ID, maxIdentityBytes)
}

// generationKey returns the key of the namespace's generation number. It has
// one separator, which no itemKey has.
func generationKey(namespace string) string {
	return namespace + separator + generationKeyWords
}

func part(text string, most int) string {
	if len(text) <= most && readable(text) {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return hashMark + base64.RawURLEncoding.EncodeToString(sum[:hashBytes])
}

// readable reports whether text may be part of a key as it is.
func readable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f {
			return false
		}
	}
	return !strings.ContainsAny(text, separator+hashMark)
}
