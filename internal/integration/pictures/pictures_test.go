package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The pictures of the docs are those of today's code.
func TestPicturesAreCurrent(t *testing.T) {
	t.Parallel()
	fresh, kept := t.TempDir(), filepath.Join("..", "..", "..", "docs", "pictures")
	if err := drawAll(fresh); err != nil {
		t.Fatal(err)
	}
	for _, s := range subjects {
		want, err := os.ReadFile(filepath.Join(fresh, s.name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(kept, s.name+".svg"))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s.svg is not what the strategy does (%v); run make pictures", s.name, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(kept, "*.svg"))
	if err != nil || len(files) != len(subjects) {
		t.Errorf("%d pictures are kept and %d drawn, %v", len(files), len(subjects), err)
	}
}
