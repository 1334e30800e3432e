// Package mutant takes safeguards away: it lays edited files over those of the tree for a build of a test, which must fail then. The
// tree itself knows nothing of it. For tests.
package mutant

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// An Edit replaces text that occurs exactly once in a file, whose path is relative to the root of the module.
type Edit struct{ File, Before, After string }

// A Mutant is a program with one safeguard taken away. testdata/mutants has one a file: why the safeguard is there, who must notice,
// and the edits.
type Mutant struct {
	Search string   // of the explorer
	Breaks []string // the invariants of which the explorer must name one
	From   string   // the seed from which the simulation soon finds it
	Edits  []Edit
}

var editPattern = regexp.MustCompile(`(?ms)^edit: (\S+)\n-----\n(.*?)\n\+\+\+\+\+\n(.*?)\n?=====$`)

// Read returns the mutant of a file.
func Read(path string) (Mutant, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Mutant{}, err
	}
	var m Mutant
	for line := range strings.Lines(string(text)) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); name {
		case "search":
			m.Search = value
		case "breaks":
			m.Breaks = strings.Fields(value)
		case "seeds from":
			m.From = value
		}
	}
	for _, e := range editPattern.FindAllStringSubmatch(string(text), -1) {
		m.Edits = append(m.Edits, Edit{e[1], e[2], e[3]})
	}
	if m.Search == "" || len(m.Breaks) == 0 || len(m.Edits) == 0 || m.From == "" {
		return m, fmt.Errorf("%s: needs a search, what breaks, an edit, and the seed that finds it", path)
	}
	return m, nil
}

// Overlay writes the edited files to a directory of their own, and the table that go build takes with -overlay, whose path it
// returns.
func Overlay(root, dir string, edits []Edit) (table string, err error) {
	replace := map[string]string{}
	for _, e := range edits {
		original := filepath.Join(root, e.File)
		source := original
		if edited, again := replace[original]; again {
			source = edited
		}
		text, err := os.ReadFile(source)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(text), e.Before); n != 1 {
			return "", fmt.Errorf("the text to change occurs %d times in %s, not once: it must follow the code:\n%s", n, e.File, e.Before)
		}
		edited := filepath.Join(dir, strings.ReplaceAll(e.File, "/", "_"))
		if err := os.WriteFile(edited, []byte(strings.Replace(string(text), e.Before, e.After, 1)), 0o600); err != nil {
			return "", err
		}
		replace[original] = edited
	}
	body, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	table = filepath.Join(dir, "overlay.json")
	return table, os.WriteFile(table, body, 0o600)
}
