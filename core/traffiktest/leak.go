package traffiktest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// leakPatience is how long VerifyNoLeaks waits for goroutines that are about to end.
const leakPatience = 2 * time.Second

// VerifyNoLeaks runs the tests of a package and ends the process, with a failure if
// goroutines are left over. Call it from TestMain:
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

// leaked returns the stacks of goroutines that neither the runtime nor the testing package
// owns.
func leaked() string {
	for deadline := time.Now().Add(leakPatience); ; time.Sleep(10 * time.Millisecond) { // nothing tells when a goroutine ends
		left := slices.DeleteFunc(stacks(), expected)
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
	}
}

// stacks returns the stacks of all goroutines but the calling one.
func stacks() []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	return strings.Split(string(buf), "\n\n")[1:]
}

// known are functions of the runtime and of the testing package that outlive a test.
var known = []string{"testing.(*T).Run", "testing.runTests", "testing.(*M)", "runtime.goexit0", "os/signal.", "runtime/trace.", "testing.(*F)"}

func expected(stack string) bool {
	return slices.ContainsFunc(known, func(function string) bool { return strings.Contains(stack, function) })
}
