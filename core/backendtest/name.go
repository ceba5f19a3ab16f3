package backendtest

import (
	"crypto/rand"
	"strconv"
)

// run tells the names of this process from those of others on a shared store.
var run = rand.Text()[:8]

func unique(kind string) string {
	return kind + "-" + run + "-" + strconv.FormatInt(serial.Add(1), 10)
}
