package clientip

import "strings"

const (
	digits = "0123456789"
	tchars = "!#$%&'*+-.^_`|~" + digits + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "abcdefghijklmnopqrstuvwxyz"
)

// IsToken reports whether s is a token (RFC 9110, section 5.6.2).
func IsToken(s string) bool { return s != "" && strings.TrimLeft(s, tchars) == "" }

// TrimOWS drops optional white space (RFC 9110, section 5.6.3).
func TrimOWS(s string) string { return strings.Trim(s, " \t") }
