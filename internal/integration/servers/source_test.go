package servers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// choosing is a kind that has not chosen yet.
func choosing(k *kind) *kind {
	return &kind{
		name: k.name, binary: k.binary, image: k.image, imageEnv: k.imageEnv, addrEnv: k.addrEnv,
		advice: k.advice, question: k.question, answers: k.answers, args: k.args,
	}
}

func TestAddressFromTheEnvironmentComesFirst(t *testing.T) {
	own := Memcached(t, Own())
	t.Setenv("TRAFFIK_TEST_MEMCACHED", own.Addr)
	if s := Memcached(t); s.Addr != own.Addr || s.From != "TRAFFIK_TEST_MEMCACHED" {
		t.Errorf("the server is at %s, from %s", s.Addr, s.From)
	}
	if s := Memcached(t, Own()); s.Addr == own.Addr {
		t.Error("a server that others use was handed to a test that wants its own")
	}
	if s := Memcached(t, Args("-m", "3")); s.Addr == own.Addr {
		t.Error("a running server was handed to a test that wants arguments")
	}
}

func TestImageThatCannotBeHadFallsBackToAProcess(t *testing.T) {
	t.Setenv("TRAFFIK_TEST_SOURCE", "")
	t.Setenv("PATH", stub(t, "memcached"))
	// Nothing listens on port 1 of this machine, so nobody outside is asked.
	t.Setenv("TRAFFIK_TEST_MEMCACHED_IMAGE", "127.0.0.1:1/traffik-test/none:local")
	from, err := choosing(memcachedKind).source()
	if err != nil || from.image != "" || !strings.HasSuffix(from.binary, "/memcached") {
		t.Fatalf("%+v, %v", from, err)
	}
	if text := from.String(); !strings.Contains(text, "no container: ") {
		t.Errorf("it says %q, and not why", text)
	}
}

func TestNothingAtHandSaysHowToGetOne(t *testing.T) {
	t.Setenv("TRAFFIK_TEST_SOURCE", "process")
	t.Setenv("PATH", t.TempDir())
	_, err := choosing(redisKind).source()
	if err == nil {
		t.Fatal("a server was found")
	}
	for _, want := range []string{"TRAFFIK_TEST_REDIS", "Docker", "apt-get install redis-server"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}

func TestOnlyContainersMeansNoProcess(t *testing.T) {
	t.Setenv("TRAFFIK_TEST_SOURCE", "container")
	t.Setenv("TRAFFIK_TEST_REDIS_IMAGE", "127.0.0.1:1/traffik-test/none:local")
	if from, err := choosing(redisKind).source(); err == nil {
		t.Errorf("the source is %s", from)
	}
}

func TestUnknownSourceIsRefused(t *testing.T) {
	t.Setenv("TRAFFIK_TEST_SOURCE", "docker")
	if _, err := choosing(redisKind).source(); err == nil || !strings.Contains(err.Error(), "accepted are container and process") {
		t.Errorf("the error is %v", err)
	}
}

func TestBrokenServerIsReportedWithWhatItPrinted(t *testing.T) {
	_, err := redisKind.launch(t, func(int, string) program { return program{args: []string{"--no-such-setting", "1"}} })
	if err == nil || !strings.Contains(err.Error(), "no-such-setting") {
		t.Errorf("the error is %v", err)
	}
}

// stub returns a directory with an executable of that name.
func stub(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o700); err != nil { //nolint:gosec // it is executable on purpose
		t.Fatal(err)
	}
	return dir
}

func TestCustomServerThatIsMissingSaysHowToGetIt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Custom{Name: "proxy", Binary: "no-such-proxy", Advice: "apt-get install no-such-proxy"}.source()
	if err == nil || !strings.Contains(err.Error(), "apt-get install no-such-proxy") {
		t.Errorf("the error is %v", err)
	}
}
