package lint

import (
	"go/ast"
	"go/token"
)

// documented checks that every exported name has a comment. Of a group of constants or variables, the group's will do.
func (t *Tree) documented(f *File) {
	if f.Test || f.Name.Name == "main" {
		return
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && visible(d) && !obvious[d.Name.Name] {
				t.report(f, d.Pos(), "documented", "%s has no comment", d.Name.Name)
			}
		case *ast.GenDecl:
			if d.Tok != token.IMPORT {
				t.documentedGroup(f, d)
			}
		}
	}
}

// obvious are methods whose interface says it all.
var obvious = map[string]bool{"String": true, "Error": true}

// visible reports whether a function is one, or the method of an exported type.
func visible(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	name := ""
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return name == ""
	})
	return ast.IsExported(name)
}

func (t *Tree) documentedGroup(f *File, d *ast.GenDecl) {
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
				t.report(f, s.Pos(), "documented", "%s has no comment", s.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
					t.report(f, name.Pos(), "documented", "%s has no comment", name.Name)
				}
			}
		}
	}
}
