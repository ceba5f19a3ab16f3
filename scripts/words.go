// Command words fails if a file in git uses a word that the project has replaced. It prints the file, the line and the word to
// use instead. No old word may be in a file name or in an identifier of Go or Lua. A few may not be anywhere.
//
//	go run scripts/words.go
package main

import (
	"fmt"
	"go/scanner"
	"go/token"
	"log"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
)

// names are matched against names split into words, such as "gate Gift" for gateGift.
var names = rules(
	`gifts?|undo|undone|undoes|uncharges?|g[ai]ven? ?back|giving back`, "refund",
	`heal(s|ed|er|ing)?`, "repair",
	`knock(s|ed|ing)?`, "mark denied",
	`score`, "counters",
	`company`, "pipelined",
	`lanes?`, "queue (Redis) or direction (WebSocket)",
	`passages?`, "pending message",
	`judge(s|d|ments?)?|judgments?`, "gate take",
	`attachments?`, "request memo",
	`shapes?`, "draw spec",
	`turns\.go`, "key locks",
	`own (lua|scripts?|strategy|strategies)`, "custom",
	`^(?-i:Together)$`, "Combine",
	`^(?-i:Shown)$`, "Tightest",
	`^(?-i:Provisional)$`, "PerUse",
)

// anywhere is matched against every line of every text.
var anywhere = rules(
	`gift(s|ed|ing)?`, "refund",
	`heal(s|ed|er|ing)?`, "repair",
	`knock(s|ed|ing)?`, "a denied client that retries",
	`(keep|keeps|kept|keeping) (the )?score|score is kept`, "store counters, or count",
)

type rule struct {
	old *regexp.Regexp
	new string
}

func rules(pairs ...string) (list []rule) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, rule{regexp.MustCompile(`(?i)\b(` + pairs[i] + `)\b`), pairs[i+1]})
	}
	return list
}

var (
	camel   = regexp.MustCompile(`([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])|_`)
	luaText = regexp.MustCompile(`--.*|'[^']*'|"[^"]*"`)
	text    = regexp.MustCompile(`\.(go|lua|md|html|sh|txt|ya?ml)$|(^|/)(Makefile|run)$`)
)

// listed are the files that have to contain the old words.
var listed = map[string]bool{"scripts/words.go": true, "internal/integration/scripts/words_test.go": true}

// found counts the reports.
var found int

func report(where, name string, list []rule) {
	for _, r := range list {
		if old := r.old.FindString(name); old != "" {
			fmt.Printf("%s: %q: say %s\n", where, old, r.new)
			found++
		}
	}
}

// reportName splits a name into its words first.
func reportName(where, name string) {
	report(where, camel.ReplaceAllString(name, "$1$3 $2$4"), names)
}

func main() {
	log.SetFlags(0)
	list, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		log.Fatalf("words: git ls-files: %v", err)
	}
	for _, file := range strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		data, err := os.ReadFile(file)
		if listed[file] || os.IsNotExist(err) { // a file that is deleted and not committed yet is in git's list too
			continue
		}
		if err != nil {
			log.Fatal("words: ", err)
		}
		reportName(file, path.Base(file))
		if text.MatchString(file) {
			check(file, string(data))
		}
	}
	if found > 0 {
		log.Fatalf("words: %d of the words that this project has replaced", found)
	}
}

func check(file, data string) {
	for i, line := range strings.Split(data, "\n") {
		where := fmt.Sprintf("%s:%d", file, i+1)
		report(where, line, anywhere)
		if path.Ext(file) == ".lua" {
			reportName(where, luaText.ReplaceAllString(line, ""))
		}
	}
	if path.Ext(file) == ".go" {
		set := token.NewFileSet()
		var s scanner.Scanner
		s.Init(set.AddFile(file, -1, len(data)), []byte(data), nil, 0)
		for pos, kind, name := s.Scan(); kind != token.EOF; pos, kind, name = s.Scan() {
			if kind == token.IDENT {
				reportName(set.Position(pos).String(), name)
			}
		}
	}
}
