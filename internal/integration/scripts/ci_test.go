package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../../.."

// programs makes a directory of shell scripts.
func programs(t *testing.T, scripts map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil { //nolint:gosec // it is executable on purpose
			t.Fatal(err)
		}
	}
	return dir
}

// The last line of CI's output names the stage that failed, and the lines before it how
// long each took.
func TestCINamesTheStageThatFailed(t *testing.T) {
	t.Parallel()
	dir := programs(t, map[string]string{
		"make": `case "$*" in
"-s check-parts") echo lint vet race ;;
vet) echo "a mistake"; exit 2 ;;
esac`,
		"id": "echo 0", "docker": "exit 1", "apt-get": "", "useradd": "exit 1", "su": "exit 1",
	})
	cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(root, ".ci", "run")) //nolint:gosec // our own script
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("it ended well:\n%s", out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, `ci: FAILED in the stage "make vet", after `) {
		t.Errorf("the last line is %q:\n%s", last, out)
	}
	_, list, _ := strings.Cut(string(out), "==== stages\n")
	for _, want := range []string{" s  packages\n", " s  make test\n", " s  make lint\n", " s  make vet\n"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list has no %q:\n%s", want, list)
		}
	}
	if strings.Contains(list, "make race") {
		t.Errorf("it went on after the failure:\n%s", out)
	}
}

// What changes a checkout that was clean is named, with the command that did it.
func TestCleanCheckFindsWhatChangesTheCheckout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOWORK=")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	script, err := os.ReadFile(filepath.Join(root, "scripts", "clean.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"scripts/clean.sh": string(script), "a/a.go": "// Package a is empty.\npackage a\n", "a/go.mod": "module example.com/a\n\ngo 1.25.0\n",
		"go.work": "go 1.25.0\n\nuse ./a\n",
	} {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"}} {
		if out, err := run("git", args...); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	if out, err := run("bash", "scripts/clean.sh"); err != nil {
		t.Errorf("nothing changed, and it says %v:\n%s", err, out)
	}
	// A test that leaves a file where it runs.
	leak := "package a\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestMain(*testing.M) { os.WriteFile(\"left\", nil, 0o600) }\n"
	if err := os.WriteFile(filepath.Join(dir, "a", "a_test.go"), []byte(leak), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run("bash", "scripts/clean.sh")
	if err == nil || !strings.Contains(out, `/a, "go test -run ^$ ." changed the checkout`) || !strings.Contains(out, "a/left") {
		t.Errorf("%v, and it says:\n%s", err, out)
	}
}
