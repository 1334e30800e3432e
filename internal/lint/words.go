package lint

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// unfinished are words that promise what is not there.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

// titles are words that name a thing by what nobody can tell from it.
var titles = []string{"helper", "helpers", "util", "utils", "manager", "common", "impl"}

// adjectives are those of them that may say how something is: two logs have a common prefix.
var adjectives = []string{"common"}

// words checks what is written: promises in comments, names, and tests that sleep.
func (t *Tree) words(f *File) {
	for _, group := range f.Comments {
		for _, c := range group.List {
			if word := unfinished.FindString(c.Text); word != "" {
				t.report(f, c.Pos(), "unfinished", "%s: do it, or say in a sentence why it is not done", word)
			}
		}
	}
	t.title(f, f.Name, f.Name.Name, titles)
	t.title(f, f.Name, strings.TrimSuffix(path.Base(f.Path), ".go"), titles)
	verbs := slices.DeleteFunc(slices.Clone(titles), func(w string) bool { return slices.Contains(adjectives, w) })
	ast.Inspect(f.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			t.title(f, n, n.Name.Name, verbs)
		case *ast.TypeSpec:
			t.title(f, n, n.Name.Name, titles)
		case *ast.ValueSpec:
			for _, name := range n.Names {
				t.title(f, name, name.Name, verbs)
			}
		case *ast.CallExpr:
			if f.Test && called(n) == "time.Sleep" {
				t.report(f, n.Pos(), "sleep", "a test waits for what should happen, with a deadline; it does not sleep")
			}
		}
		return true
	})
}

func (t *Tree) title(f *File, n ast.Node, name string, bad []string) {
	for _, w := range split(name) {
		if slices.Contains(bad, w) {
			t.report(f, n.Pos(), "name", "%s: a noun from the problem says more than %q", name, w)
		}
	}
}

// split cuts a name into its words, in lower case.
func split(name string) []string {
	var words []string
	start := 0
	for i, c := range name {
		if i > 0 && (c == '_' || unicode.IsUpper(c)) {
			words = append(words, strings.ToLower(strings.Trim(name[start:i], "_")))
			start = i
		}
	}
	return append(words, strings.ToLower(strings.Trim(name[start:], "_")))
}
