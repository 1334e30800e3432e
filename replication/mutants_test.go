package replication_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A mutant is a program with one safeguard taken away. testdata/mutants has one a file: why the safeguard is there, which
// search must notice and what invariant it must name, and the edits.
type mutant struct {
	search string
	breaks []string
	edits  []edit
}

// An edit replaces text that occurs exactly once in a file.
type edit struct{ file, before, after string }

var editPattern = regexp.MustCompile(`(?ms)^edit: (\S+)\n-----\n(.*?)\n\+\+\+\+\+\n(.*?)\n?=====$`)

func readMutant(t *testing.T, path string) mutant {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m mutant
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "search":
			m.search = value
		case "breaks":
			m.breaks = strings.Fields(value)
		}
	}
	for _, e := range editPattern.FindAllStringSubmatch(string(text), -1) {
		m.edits = append(m.edits, edit{e[1], e[2], e[3]})
	}
	if m.search == "" || len(m.breaks) == 0 || len(m.edits) == 0 {
		t.Fatalf("%s: needs a search, what breaks, and an edit", path)
	}
	return m
}

// overlay writes the edited files and the table that go build reads.
func (m mutant) overlay(t *testing.T, root string) string {
	t.Helper()
	dir, replace := t.TempDir(), map[string]string{}
	for _, e := range m.edits {
		original := filepath.Join(root, e.file)
		source := original
		if edited, again := replace[original]; again {
			source = edited
		}
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), e.before); n != 1 {
			t.Fatalf("the text to change occurs %d times in %s, not once:\n%s", n, e.file, e.before)
		}
		edited := filepath.Join(dir, strings.ReplaceAll(e.file, "/", "_"))
		changed := strings.Replace(string(text), e.before, e.after, 1)
		if err := os.WriteFile(edited, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[original] = edited
	}
	table, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, table, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sampled: one mutant of so many is built in a run of all tests. All of them take minutes, so make explore does.
const sampled = 3

// TestMutants takes each safeguard away and demands that the explorer notices. A mutant that survives means that the
// search is blind there. Without -mutants it takes a sample, always the same.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, -short: the mutants are not built, so nothing shows that the explorer can fail")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(root, "testdata/mutants/*.txt"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no mutants: %v", err)
	}
	for i, path := range paths {
		if !*mutants && i%sampled != 0 {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			readMutant(t, path).hunt(t, root)
		})
	}
}

// hunt builds the mutant's test and runs its search, which must fail with one of the invariants it breaks. A mutant gets more
// random walks than sound code, because the first that fails ends them.
func (m mutant) hunt(t *testing.T, root string) {
	all := slices.Concat(searches, randomWalks)
	if !slices.ContainsFunc(all, func(c config) bool { return c.name == m.search }) {
		t.Fatalf("no search is called %q", m.search)
	}
	table := m.overlay(t, root)
	binary := filepath.Join(filepath.Dir(table), "mutant.test")
	build := exec.Command("go", "test", "-c", "-overlay", table, "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the mutant does not build: %v\n%s", err, out)
	}
	out, err := exec.Command(binary, "-test.run", "^Test(Explore|Walk)$/^"+m.search+"$", "-test.timeout", "4m", "-walks", "100000").CombinedOutput()
	text := string(out)
	named := slices.ContainsFunc(m.breaks, func(invariant string) bool { return strings.Contains(text, ": "+invariant+": ") })
	switch {
	case err == nil:
		t.Errorf("the mutant survives the search %q\n%s", m.search, text)
	case !named:
		t.Errorf("the search fails, but not with %v:\n%s", m.breaks, text)
	default:
		t.Logf("killed: %s", firstLine(text))
	}
}

// firstLine returns the line of the output that names the violation.
func firstLine(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "_test.go:") && !strings.Contains(line, " states, ") {
			return strings.TrimSpace(line)
		}
	}
	return out
}
