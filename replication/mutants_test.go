package replication_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/internal/mutant"
)

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
			m, err := mutant.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			hunt(t, root, m)
		})
	}
}

// hunt builds the mutant's test and runs its search, which must fail with one of the invariants it breaks. A mutant gets more
// random walks than sound code, because the first that fails ends them.
func hunt(t *testing.T, root string, m mutant.Mutant) {
	all := slices.Concat(searches, randomWalks)
	if !slices.ContainsFunc(all, func(c config) bool { return c.name == m.Search }) {
		t.Fatalf("no search is called %q", m.Search)
	}
	table, err := mutant.Overlay(root, t.TempDir(), m.Edits)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(filepath.Dir(table), "mutant.test")
	build := exec.Command("go", "test", "-c", "-overlay", table, "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the mutant does not build: %v\n%s", err, out)
	}
	out, err := exec.Command(binary, "-test.run", "^Test(Explore|Walk)$/^"+m.Search+"$", "-test.timeout", "4m", "-walks", "100000").CombinedOutput()
	text := string(out)
	named := slices.ContainsFunc(m.Breaks, func(invariant string) bool { return strings.Contains(text, ": "+invariant+": ") })
	switch {
	case err == nil:
		t.Errorf("the mutant survives the search %q\n%s", m.Search, text)
	case !named:
		t.Errorf("the search fails, but not with %v:\n%s", m.Breaks, text)
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
