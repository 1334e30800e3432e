package lint

import (
	"go/ast"
	"go/types"
	"slices"
	"strings"
)

// Types resolves imports while the pure packages are type-checked.
type Types = types.Importer

// mapOrder finds loops over maps in a pure package: the order of a map differs from run to run, so what a loop over one
// does must not depend on it. Keys that are sorted first are fine; anything else says why it is.
func (t *Tree) mapOrder(p *Package, imports Types) {
	var files []*ast.File
	for _, f := range p.Files {
		if !f.Test {
			files = append(files, f.File)
		}
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	config := types.Config{Importer: imports, Error: func(error) {}} // what does not compile is the compiler's to report
	_, _ = config.Check(Module+"/"+p.Path, t.Fset, files, info)
	for _, f := range p.Files {
		if f.Test {
			continue
		}
		sorted := map[ast.Expr]bool{} // iterators that are handed to a sort
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.RangeStmt:
				if isMap(info, n.X) {
					t.report(f, n.Pos(), "maporder", "the order of a map decides the order of this loop")
				}
			case *ast.CallExpr:
				if strings.HasPrefix(called(n), "slices.Sorted") {
					sorted[ast.Unparen(n.Args[0])] = true
				}
				if slices.Contains([]string{"maps.Keys", "maps.Values", "maps.All"}, called(n)) && !sorted[n] {
					t.report(f, n.Pos(), "maporder", "%s gives the order of a map; sort it", called(n))
				}
			}
			return true
		})
	}
}

func isMap(info *types.Info, x ast.Expr) bool {
	typ := info.TypeOf(x)
	if typ == nil {
		return false
	}
	_, ok := typ.Underlying().(*types.Map)
	return ok
}

// called names a call of a package's function, as package.Function.
func called(c *ast.CallExpr) string {
	if s, ok := c.Fun.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}
