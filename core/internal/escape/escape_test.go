package escape

import (
	"strings"
	"testing"
)

var partsInTest = []string{
	"", "a", "A", " ", "a b", "a%20b", "%", "%25", "|", "+", "#", "{", "}", "{tag}", "\x00", "\x1f", "\x7f", "\r\n", "\t", "%7C", "%7c",
	"ip:192.0.2.1", "a:b", "ä", "\xff", "\x80", "日本", "#AAAAAAAAAAAAAAAAAAAAAA", "a+b:c", "|a", "a|",
	strings.Repeat("x", maxBytes), strings.Repeat("x", maxBytes+1), strings.Repeat("x", 1<<20),
	strings.Repeat("{", maxBytes), strings.Repeat("{", maxBytes+1), strings.Repeat("%", 300),
}

func TestEscapePart(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                               "",
		"user-42_x.y:z/é~":               "user-42_x.y:z/é~",
		"a b":                            "a%20b",
		"100%|+#{}":                      "100%25%7C%2B%23%7B%7D",
		"\x00\n\x7f":                     "%00%0A%7F",
		strings.Repeat("x", 96):          strings.Repeat("x", 96),
		strings.Repeat("{", 96):          strings.Repeat("%7B", 96),
		strings.Repeat("x", 97):          Hash(strings.Repeat("x", 97)),
		strings.Repeat("x", 96) + "\x00": Hash(strings.Repeat("x", 96) + "\x00"),
	} {
		if got := Part(text); got != want {
			t.Errorf("Part(%q) = %q, want %q", text, got, want)
		}
	}
	// 128 bits of SHA-256 in base64url, RFC 4648 section 5; the vector is that
	// of "abc" in FIPS 180-2.
	if got := Hash("abc"); got != "#ungWv48Bz-pBQUDeXa4iIw" {
		t.Errorf("Hash(abc) = %q", got)
	}
}

// TestUserTextCannotForgeKeys: no text comes out like another, none carries a
// separator, a hash tag of Redis or what Memcached refuses, none grows.
func TestUserTextCannotForgeKeys(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, text := range partsInTest {
		part := Part(text)
		checkPart(t, text, part)
		if other, twice := seen[part]; twice {
			t.Errorf("%q and %q are both %q", other, text, part)
		}
		seen[part] = text
	}
	// A text that is the escaped or hashed form of another is another.
	for _, text := range partsInTest {
		if part := Part(text); part != text && Part(part) == part {
			t.Errorf("%q and its own form %q share a key", text, part)
		}
	}
}

func checkPart(t *testing.T, text, part string) {
	t.Helper()
	body := strings.TrimPrefix(part, "#")
	for i := range len(body) {
		if c := body[i]; c <= ' ' || c == 0x7f || strings.IndexByte("|+#{}", c) >= 0 {
			t.Fatalf("%q becomes %q, which holds %q", text, part, c)
		}
	}
	if len(part) > 3*maxBytes || strings.HasPrefix(part, "#") != (len(text) > maxBytes) {
		t.Fatalf("%q becomes %q", text, part)
	}
}

func FuzzEscapePart(f *testing.F) {
	for i, text := range partsInTest {
		f.Add(text, partsInTest[(i+1)%len(partsInTest)])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		partA, partB := Part(a), Part(b)
		checkPart(t, a, partA)
		if (a == b) != (partA == partB) {
			t.Fatalf("%q becomes %q, %q becomes %q", a, partA, b, partB)
		}
		if len(a) <= maxBytes && unescapeInTest(partA) != a {
			t.Fatalf("%q becomes %q, which is no way back", a, partA)
		}
	})
}

// unescapeInTest is the inverse of percentEncode.
func unescapeInTest(part string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		if part[i] != '%' {
			b.WriteByte(part[i])
			continue
		}
		b.WriteByte(byte(strings.IndexByte(hex, part[i+1])<<4 | strings.IndexByte(hex, part[i+2])))
		i += 2
	}
	return b.String()
}
