package httptraffik

import "net/http"

// These are set for each ability that a writer has.
const (
	canFlush = 1 << iota
	canHijack
	canReadFrom
	canPush
	canNotify  // http.CloseNotifier
	canControl // what http.ResponseController asks for
)

// notifier is http.CloseNotifier: deprecated, yet what frameworks take for granted
// in the writers of net/http.
type notifier interface{ CloseNotify() <-chan bool }

func (r *recorder) plain(abilities int, p http.Pusher) http.ResponseWriter {
	switch abilities {
	case canFlush:
		return struct {
			*recorder
			flusher
		}{r, flusher{r}}
	case canHijack:
		return struct {
			*recorder
			hijacker
		}{r, hijacker{r}}
	case canFlush | canHijack:
		return struct {
			*recorder
			flusher
			hijacker
		}{r, flusher{r}, hijacker{r}}
	case canReadFrom:
		return struct {
			*recorder
			reader
		}{r, reader{r}}
	case canFlush | canReadFrom:
		return struct {
			*recorder
			flusher
			reader
		}{r, flusher{r}, reader{r}}
	case canHijack | canReadFrom:
		return struct {
			*recorder
			hijacker
			reader
		}{r, hijacker{r}, reader{r}}
	case canFlush | canHijack | canReadFrom:
		return struct {
			*recorder
			flusher
			hijacker
			reader
		}{r, flusher{r}, hijacker{r}, reader{r}}
	case canPush:
		return struct {
			*recorder
			http.Pusher
		}{r, p}
	case canFlush | canPush:
		return struct {
			*recorder
			flusher
			http.Pusher
		}{r, flusher{r}, p}
	case canHijack | canPush:
		return struct {
			*recorder
			hijacker
			http.Pusher
		}{r, hijacker{r}, p}
	case canFlush | canHijack | canPush:
		return struct {
			*recorder
			flusher
			hijacker
			http.Pusher
		}{r, flusher{r}, hijacker{r}, p}
	case canReadFrom | canPush:
		return struct {
			*recorder
			reader
			http.Pusher
		}{r, reader{r}, p}
	case canFlush | canReadFrom | canPush:
		return struct {
			*recorder
			flusher
			reader
			http.Pusher
		}{r, flusher{r}, reader{r}, p}
	case canHijack | canReadFrom | canPush:
		return struct {
			*recorder
			hijacker
			reader
			http.Pusher
		}{r, hijacker{r}, reader{r}, p}
	case canFlush | canHijack | canReadFrom | canPush:
		return struct {
			*recorder
			flusher
			hijacker
			reader
			http.Pusher
		}{r, flusher{r}, hijacker{r}, reader{r}, p}
	}
	return r
}

func (r *recorder) notifying(abilities int, n notifier, p http.Pusher) http.ResponseWriter {
	switch abilities {
	case canFlush:
		return struct {
			*recorder
			flusher
			notifier
		}{r, flusher{r}, n}
	case canHijack:
		return struct {
			*recorder
			hijacker
			notifier
		}{r, hijacker{r}, n}
	case canFlush | canHijack:
		return struct {
			*recorder
			flusher
			hijacker
			notifier
		}{r, flusher{r}, hijacker{r}, n}
	case canReadFrom:
		return struct {
			*recorder
			reader
			notifier
		}{r, reader{r}, n}
	case canFlush | canReadFrom:
		return struct {
			*recorder
			flusher
			reader
			notifier
		}{r, flusher{r}, reader{r}, n}
	case canHijack | canReadFrom:
		return struct {
			*recorder
			hijacker
			reader
			notifier
		}{r, hijacker{r}, reader{r}, n}
	case canFlush | canHijack | canReadFrom:
		return struct {
			*recorder
			flusher
			hijacker
			reader
			notifier
		}{r, flusher{r}, hijacker{r}, reader{r}, n}
	case canPush:
		return struct {
			*recorder
			http.Pusher
			notifier
		}{r, p, n}
	case canFlush | canPush:
		return struct {
			*recorder
			flusher
			http.Pusher
			notifier
		}{r, flusher{r}, p, n}
	case canHijack | canPush:
		return struct {
			*recorder
			hijacker
			http.Pusher
			notifier
		}{r, hijacker{r}, p, n}
	case canFlush | canHijack | canPush:
		return struct {
			*recorder
			flusher
			hijacker
			http.Pusher
			notifier
		}{r, flusher{r}, hijacker{r}, p, n}
	case canReadFrom | canPush:
		return struct {
			*recorder
			reader
			http.Pusher
			notifier
		}{r, reader{r}, p, n}
	case canFlush | canReadFrom | canPush:
		return struct {
			*recorder
			flusher
			reader
			http.Pusher
			notifier
		}{r, flusher{r}, reader{r}, p, n}
	case canHijack | canReadFrom | canPush:
		return struct {
			*recorder
			hijacker
			reader
			http.Pusher
			notifier
		}{r, hijacker{r}, reader{r}, p, n}
	case canFlush | canHijack | canReadFrom | canPush:
		return struct {
			*recorder
			flusher
			hijacker
			reader
			http.Pusher
			notifier
		}{r, flusher{r}, hijacker{r}, reader{r}, p, n}
	}
	return struct {
		*recorder
		notifier
	}{r, n}
}
