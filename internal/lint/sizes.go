package lint

import (
	"go/ast"
	"slices"
)

// Sizes that end a discussion. Style warns earlier.
const (
	MaxFunction = 60  // lines, from func to the closing brace
	MaxFile     = 450 // lines; tests and generated files are free
	MaxFields   = 15  // of a struct
)

func (t *Tree) sizes(f *File) {
	if f.Lines > MaxFile && !f.Test {
		t.report(f, f.Package, "file", "%d lines, the end is %d", f.Lines, MaxFile)
	}
	ast.Inspect(f.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if lines := t.lines(n); lines > MaxFunction {
				t.report(f, n.Pos(), "function", "%s has %d lines, the end is %d", n.Name.Name, lines, MaxFunction)
			}
		case *ast.TypeSpec:
			if s, ok := n.Type.(*ast.StructType); ok && !f.Test {
				if fields := s.Fields.NumFields(); fields > MaxFields {
					t.report(f, n.Pos(), "fields", "%s has %d fields, the end is %d", n.Name.Name, fields, MaxFields)
				}
			}
		}
		return true
	})
}

func (t *Tree) lines(n ast.Node) int {
	return t.Fset.Position(n.End()).Line - t.Fset.Position(n.Pos()).Line + 1
}

// Functions returns the lengths of all functions that are neither generated nor in a test, shortest first.
func (t *Tree) Functions() []int {
	var lengths []int
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if f.Test || f.Generated {
				continue
			}
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok {
					lengths = append(lengths, t.lines(fn))
				}
			}
		}
	}
	slices.Sort(lengths)
	return lengths
}
