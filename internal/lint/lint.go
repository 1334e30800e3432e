// Package lint checks the house rules that a machine can check: who may import whom, that the pure packages stay pure, how
// long things may get, and what may not be written. It runs as an ordinary test, so `go test ./...` is enough to keep them.
//
// A rule that must be broken at one place is broken there in the open, by a comment on the line or the one above:
//
//	//lint:RULE reason
//
// A comment without a reason is a finding, and so is one that excuses nothing.
package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Module is the import path of the module.
const Module = "muster"

// Finding is one broken rule.
type Finding struct {
	Pos  token.Position
	Rule string
	Text string
}

func (f Finding) String() string { return fmt.Sprintf("%s: [%s] %s", f.Pos, f.Rule, f.Text) }

// File is one parsed Go file.
type File struct {
	*ast.File
	Path      string // below the module's root
	Lines     int
	Test      bool
	Generated bool
	excuses   map[int]*excuse // by line
}

// excuse is a //lint: comment.
type excuse struct {
	rule, reason string
	used         bool
}

// Package is the files of one folder.
type Package struct {
	Path  string // import path below the module, "." for the root
	Files []*File
}

// Tree is a module's source.
type Tree struct {
	Fset     *token.FileSet
	Packages []*Package // by path
	Mod      string     // the text of go.mod
	findings []Finding
}

// Load parses every Go file below fsys. It fails on files that cannot be read or parsed.
func Load(fsys fs.FS) (*Tree, error) {
	t := &Tree{Fset: token.NewFileSet()}
	packages := map[string]*Package{}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name := d.Name(); p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		case path.Ext(p) != ".go":
			return nil
		}
		f, err := t.parse(fsys, p)
		if err != nil {
			return err
		}
		dir := path.Dir(p)
		if packages[dir] == nil {
			packages[dir] = &Package{Path: dir}
			t.Packages = append(t.Packages, packages[dir])
		}
		packages[dir].Files = append(packages[dir].Files, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(t.Packages, func(a, b *Package) int { return strings.Compare(a.Path, b.Path) })
	mod, err := fs.ReadFile(fsys, "go.mod")
	t.Mod = string(mod)
	return t, err
}

func (t *Tree) parse(fsys fs.FS, p string) (*File, error) {
	text, err := fs.ReadFile(fsys, p)
	if err != nil {
		return nil, err
	}
	parsed, err := parser.ParseFile(t.Fset, p, text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	f := &File{
		File: parsed, Path: p, Lines: strings.Count(string(text), "\n"), Test: strings.HasSuffix(p, "_test.go"),
		Generated: ast.IsGenerated(parsed), excuses: map[int]*excuse{},
	}
	for _, group := range parsed.Comments {
		for _, c := range group.List {
			if text, found := strings.CutPrefix(c.Text, "//lint:"); found {
				rule, reason, _ := strings.Cut(text, " ")
				f.excuses[t.Fset.Position(c.Pos()).Line] = &excuse{rule: rule, reason: strings.TrimSpace(reason)}
			}
		}
	}
	return f, nil
}

// report notes a finding unless the line, or the one above, excuses it.
func (t *Tree) report(f *File, pos token.Pos, rule, format string, args ...any) {
	at := t.Fset.Position(pos)
	for _, line := range []int{at.Line, at.Line - 1} {
		if e := f.excuses[line]; e != nil && e.rule == rule {
			e.used = true
			if e.reason != "" {
				return
			}
		}
	}
	t.findings = append(t.findings, Finding{Pos: at, Rule: rule, Text: fmt.Sprintf(format, args...)})
}

// Check runs every rule and returns the findings by file and line. Types resolves the imports of pure packages.
func (t *Tree) Check(types Types) []Finding {
	t.findings = nil
	for _, p := range t.Packages {
		t.layers(p)
		for _, f := range p.Files {
			if f.Generated {
				continue
			}
			t.sizes(f)
			t.words(f)
			t.documented(f)
		}
		if pure[p.Path] {
			t.pure(p)
			t.mapOrder(p, types)
		}
	}
	t.modules()
	t.excuses()
	slices.SortFunc(t.findings, func(a, b Finding) int {
		return strings.Compare(fmt.Sprintf("%s:%08d", a.Pos.Filename, a.Pos.Line), fmt.Sprintf("%s:%08d", b.Pos.Filename, b.Pos.Line))
	})
	return t.findings
}

// excuses reports comments that excuse nothing. staticcheck's own are not ours to judge.
func (t *Tree) excuses() {
	for _, p := range t.Packages {
		for _, f := range p.Files {
			for line, e := range f.excuses {
				if !e.used && e.rule != "ignore" && e.rule != "file-ignore" {
					t.findings = append(t.findings, Finding{
						Pos: token.Position{Filename: f.Path, Line: line}, Rule: "excuse", Text: "nothing here breaks rule " + e.rule,
					})
				}
			}
		}
	}
}
