package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// module makes a module of these files.
func module(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files["go.mod"] = "module example.com/stressed\n\ngo 1.25.0\n"
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const stressedHead = "package p\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\n"

// The table counts runs and failures, and the log has what failed printed and nothing
// of the rest.
func TestStress(t *testing.T) { //nolint:paralleltest // the environment is the process'
	t.Setenv("GOWORK", "off")
	dir := module(t, map[string]string{
		"good/good_test.go": stressedHead + "func TestGood(t *testing.T) { t.Log(os.Args[0] != \"\") }\n",
		"once/once_test.go": stressedHead + `func TestOnce(t *testing.T) {
	if os.Remove("first") == nil {
		t.Error("this was the first")
	}
}

func TestBeside(t *testing.T) { t.Log("that is nobody's business") }
`,
		"once/first": "",
		"one/one_test.go": "package p\n\nimport (\n\t\"runtime\"\n\t\"testing\"\n)\n\n" + `func TestOne(t *testing.T) {
	if runtime.GOMAXPROCS(0) == 1 {
		t.Error("this was on one core")
	}
}
`,
		"broken/broken_test.go": "package p\n\nfunc nonsense() { undefined() }\n",
		"none/none.go":          "package none\n",
	})
	var out bytes.Buffer
	err := plan{dir: dir, runs: 2, packages: []string{"./..."}, last: []string{"-short", "-cpu=1,2"}}.run(t.Context(), &out)
	if err == nil || err.Error() != "5 failures" {
		t.Errorf("%v, want five failures:\n%s", err, out.String())
	}
	for _, want := range []string{
		`(?m)^ +3 +3 +\S+ +example.com/stressed/broken$`, `(?m)^ +3 +0 +\S+ +example.com/stressed/good$`, `(?m)^ +3 +1 +\S+ +example.com/stressed/once$`,
		`(?m)^run 1 of 2: 2 failures, `, `(?m)^run 2 of 2: 1 failures, `, `(?m)^-short -cpu=1,2: 2 failures, `,
	} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("no match of %s:\n%s", want, out.String())
		}
	}
	_, file, _ := strings.Cut(out.String(), "what failed printed: ")
	log, err := os.ReadFile(strings.TrimSpace(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(strings.TrimSpace(file)); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]bool{
		"==== run 1 of 2: example.com/stressed/once": true, "this was the first": true, "this was on one core": true, "undefined: undefined": true, "nobody's business": false,
	} {
		if bytes.Contains(log, []byte(text)) != want {
			t.Errorf("that the log has %q is not %v:\n%s", text, want, log)
		}
	}
}

// Without failures nothing is left, and an end from outside is no success.
func TestStressEnds(t *testing.T) { //nolint:paralleltest // the environment is the process'
	t.Setenv("GOWORK", "off")
	t.Setenv("TMPDIR", t.TempDir())
	dir := module(t, map[string]string{"p_test.go": stressedHead + `func TestP(t *testing.T) {
	if os.Getenv("STRESS_HANGS") != "" {
		os.WriteFile("hangs", nil, 0o600)
		select {}
	}
}
`})
	var out bytes.Buffer
	if err := (plan{dir: dir, runs: 1, packages: []string{"."}}).run(t.Context(), &out); err != nil {
		t.Errorf("%v:\n%s", err, out.String())
	}
	if logs, _ := filepath.Glob(filepath.Join(os.TempDir(), "traffik-stress-*")); len(logs) > 0 {
		t.Errorf("%q is left", logs)
	}
	t.Setenv("STRESS_HANGS", "1")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for t.Context().Err() == nil {
			if _, err := os.Stat(filepath.Join(dir, "hangs")); err == nil {
				return
			}
			time.Sleep(time.Millisecond) //nolint:forbidigo // until another process has got there
		}
	}()
	if err := (plan{dir: dir, runs: 100, packages: []string{"."}}).run(ctx, &out); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%v, want it to tell that it was interrupted", err)
	}
}

// The loops end when they are told to; goleak looks for those that don't.
func TestKeepBusy(t *testing.T) {
	t.Parallel()
	before := runtime.GOMAXPROCS(0)
	keepBusy()()
	if now := runtime.GOMAXPROCS(0); now != before {
		t.Errorf("GOMAXPROCS is %d afterwards, %d before", now, before)
	}
}
