// Command modzip writes the zip file of a module as a module proxy serves it
// (https://go.dev/ref/mod#zip-files). The zip holds the directory's files in git
// under "path@version/", and the repository's license.
//
//	go run scripts/modzip.go DIR PATH@VERSION FILE
package main

import (
	"archive/zip"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	log.SetFlags(0)
	dir, prefix, file := os.Args[1], os.Args[2], os.Args[3]
	if err := write(dir, prefix, file); err != nil {
		log.Fatalf("modzip: %s: %v", dir, err)
	}
}

func write(dir, prefix, file string) error {
	list := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
	list.Dir = dir
	names, err := list.Output()
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	archive := zip.NewWriter(out)
	for _, name := range append(strings.Fields(string(names)), "LICENSE") {
		from := filepath.Join(dir, name)
		if name == "LICENSE" {
			from = name
		}
		data, err := os.ReadFile(from)
		if os.IsNotExist(err) {
			continue // deleted and not committed yet
		}
		if err != nil {
			return err
		}
		entry, err := archive.Create(prefix + "/" + name)
		if err != nil {
			return err
		}
		if _, err := entry.Write(data); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return out.Close()
}
