package lint

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// pure packages decide and never act: no goroutine, channel, lock, clock, dice, I/O or log. A map's order decides nothing.
var pure = map[string]bool{
	"shard": true, "barrier": true, "fsm": true, "coordinator/plan": true, "replication": true, "region/route": true, "entity": true,
}

// impure lists packages, with all below them, that no pure package imports.
var impure = []string{
	"log", "os", "net", "sync", "math/rand", "crypto/rand", "io/ioutil", "runtime", "syscall", "testing",
	"github.com/hashicorp/go-hclog", "golang.org/x/sync", "golang.org/x/sys", "google.golang.org/grpc",
}

// clocks are what of package time reads a clock or waits.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

func (t *Tree) pure(p *Package) {
	for _, f := range p.Files {
		if f.Test {
			continue
		}
		for _, spec := range f.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			if slices.ContainsFunc(impure, func(bad string) bool { return name == bad || strings.HasPrefix(name, bad+"/") }) {
				t.report(f, spec.Pos(), "pure", "%s is pure and imports %s", p.Path, name)
			}
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			if what := acts(n); what != "" {
				t.report(f, n.Pos(), "pure", "%s is pure and has %s", p.Path, what)
			}
			return true
		})
	}
}

// acts names what a pure package may not do, "" for anything else.
func acts(n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a go statement"
	case *ast.SelectStmt:
		return "a select"
	case *ast.ChanType:
		return "a channel"
	case *ast.SendStmt:
		return "a send"
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			return "a receive"
		}
	case *ast.SelectorExpr:
		if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clocks, n.Sel.Name) {
			return "time." + n.Sel.Name
		}
	}
	return ""
}
