package lint_test

import (
	"fmt"
	"go/importer"
	"go/token"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"muster/internal/lint"
)

const root = "../.."

// TestHouseRules checks the tree, and reports how long its functions are.
func TestHouseRules(t *testing.T) {
	tree, err := lint.Load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tree.Check(compiled(t, tree.Fset)) {
		t.Error(f)
	}
	lengths := tree.Functions()
	t.Logf("%d functions: median %d lines, 90th percentile %d, longest %d",
		len(lengths), lengths[len(lengths)/2], lengths[len(lengths)*9/10], lengths[len(lengths)-1])
}

// compiled resolves imports from what the build has compiled already.
func compiled(t *testing.T, fset *token.FileSet) lint.Types {
	t.Helper()
	list := exec.Command("go", "list", "-e", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}",
		"./shard", "./barrier", "./fsm", "./coordinator/plan", "./replication", "./region/route", "./entity")
	list.Dir, list.Stderr = root, os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, file, found := strings.Cut(strings.TrimSpace(line), " "); found {
			exports[name] = file
		}
	}
	return importer.ForCompiler(fset, "gc", func(name string) (io.ReadCloser, error) {
		if exports[name] == "" {
			return nil, fmt.Errorf("%s is not compiled", name)
		}
		return os.Open(exports[name])
	})
}
