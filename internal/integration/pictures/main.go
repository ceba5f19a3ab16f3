// Command pictures draws docs/pictures/*.svg, which show the requests that each
// strategy admits. Every mark is a decision of the strategy, on an in-process backend
// with a clock that the program sets.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	dir := filepath.Join("..", "..", "docs", "pictures")
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := drawAll(dir); err != nil {
		log.Fatal(err)
	}
}

func drawAll(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // pictures are for everybody
		return err
	}
	for _, s := range subjects {
		marks, err := s.play()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		file := filepath.Join(dir, s.name+".svg")
		if err := os.WriteFile(file, draw(s, marks), 0o644); err != nil { //nolint:gosec // see above
			return err
		}
		log.Printf("%s: %s", file, s.title)
	}
	return nil
}
