package clientip

import "strings"

// lastUnquotedComma returns the index of the last comma outside of a quoted string, -1
// if there is none. Read from the right, a quote that is not escaped closes, and the next
// such one opens. Each run of backslashes is counted once, for the quote behind it, so
// the work is linear.
func lastUnquotedComma(s string) int {
	quoted := false
	for i := len(s) - 1; i >= 0; i-- {
		switch {
		case s[i] == '"' && !isEscaped(s, i):
			quoted = !quoted
		case s[i] == ',' && !quoted:
			return i
		}
	}
	return -1
}

// isEscaped reports whether an odd number of backslashes precedes s[i].
func isEscaped(s string, i int) bool {
	before := s[:i]
	return (len(before)-len(strings.TrimRight(before, `\`)))%2 == 1
}

// forwardedFor returns the node in the "for" parameter of a forwarded-element (RFC 7239,
// section 4), "" if the element has none, has two, or is malformed.
//
// It reads slightly more than the RFC allows, since proxies in use write it: white space
// around ";", and unquoted values with ":", "[" and "]".
func forwardedFor(element string) string {
	node := ""
	for element != "" {
		name, value, rest, wellFormed := cutPair(element)
		if !wellFormed {
			return ""
		}
		if strings.EqualFold(name, "for") {
			if node != "" {
				return ""
			}
			node = value
		}
		element = rest
	}
	return unquote(node)
}

// cutPair takes the first name=value off s. The value is still quoted. The grammar
// allows empty pairs; the name is "" when nothing else is left.
func cutPair(s string) (name, value, rest string, ok bool) {
	s = strings.TrimLeft(s, "; \t")
	if s == "" {
		return "", "", "", true
	}
	name, s, ok = strings.Cut(s, "=")
	if !ok || !IsToken(name) {
		return "", "", "", false
	}
	end := valueEnd(s)
	if end == 0 {
		return "", "", "", false
	}
	value, rest = s[:end], strings.TrimLeft(s[end:], " \t")
	return name, value, rest, rest == "" || rest[0] == ';'
}

// valueEnd returns the length of the value at the start of s, quotes included, 0 if it
// is empty or its quoted string does not end. An unquoted value is any visible ASCII that
// delimits nothing: a sloppy "path=/a" beside a good "for" does not make the hop
// unreadable.
func valueEnd(s string) int {
	if !strings.HasPrefix(s, `"`) {
		for i := range len(s) {
			if s[i] <= ' ' || s[i] > '~' || strings.IndexByte(`";,\`, s[i]) >= 0 {
				return i
			}
		}
		return len(s)
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// unquote returns the text of a token or of a complete quoted-string (RFC 9110, section
// 5.6.4).
func unquote(value string) string {
	if !strings.HasPrefix(value, `"`) {
		return value
	}
	value = value[1 : len(value)-1]
	if strings.IndexByte(value, '\\') < 0 {
		return value
	}
	text := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' {
			i++
		}
		text = append(text, value[i])
	}
	return string(text)
}
