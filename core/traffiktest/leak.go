package traffiktest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// leakPatience is how long goroutines that are about to end are waited for.
const leakPatience = 2 * time.Second

// VerifyNoLeaks runs the tests of a package and ends the process, with a
// failure if goroutines are left over afterwards. Call it from TestMain:
//
//	func TestMain(m *testing.M) { traffiktest.VerifyNoLeaks(m) }
func VerifyNoLeaks(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leaked(); left != "" {
			fmt.Fprintf(os.Stderr, "traffiktest: goroutines left behind:\n\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// leaked returns the stacks of goroutines that neither the runtime nor the
// testing package owns.
func leaked() string {
	for deadline := time.Now().Add(leakPatience); ; {
		var left []string
		for _, stack := range stacks() {
			if !expected(stack) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return ""
		}
		if time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
		time.Sleep(10 * time.Millisecond) // what is waited for is outside our reach
	}
}

// stacks returns those of all goroutines but the calling one.
func stacks() []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	return strings.Split(string(buf), "\n\n")[1:]
}

func expected(stack string) bool {
	for _, own := range []string{"testing.(*T).Run", "testing.runTests", "testing.(*M)", "runtime.goexit0", "os/signal.", "runtime/trace.", "testing.(*F)"} {
		if strings.Contains(stack, own) {
			return true
		}
	}
	return false
}
