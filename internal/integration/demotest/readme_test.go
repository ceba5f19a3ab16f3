package demotest

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// served is an address of the demo, or a path of it between backticks.
	served = regexp.MustCompile("http://127\\.0\\.0\\.1:8080(/[^`\\s)]*)?|`(/[^`]*)`")
	linked = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
)

// Every address of the demo in README answers, and every file that it links is there.
func TestAddressesInReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	// What stands between fences is another program's.
	prose := regexp.MustCompile("(?s)```(go|text)\n.*?```").ReplaceAllString(string(text), "")
	d := start(t)
	paths := map[string]bool{}
	for _, match := range served.FindAllStringSubmatch(prose, -1) {
		paths[match[1]+match[2]] = true
	}
	for path := range paths {
		if got := d.get(path); got.status == http.StatusNotFound {
			t.Errorf("README tells of %s, which the demo doesn't know", path)
		}
	}
	for _, path := range []string{"/gin/items", "/gin/search"} {
		if !paths[path] {
			t.Errorf("README doesn't tell of %s; it tells of %v", path, paths)
		}
	}
	for _, match := range linked.FindAllStringSubmatch(prose, -1) {
		if strings.Contains(match[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, match[1])); err != nil {
			t.Errorf("README links %s: %v", match[1], err)
		}
	}
}
