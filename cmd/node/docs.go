package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// docsVerb is not in the table: it documents it.
func docsVerb() verb {
	return verb{
		use:    "docs",
		short:  "print docs/cli.md",
		long:   "Prints the reference of all verbs as Markdown, from the same table as their help. `make docs` puts it into docs/cli.md.",
		hidden: true,
		body: func(t *terminal, _ *pflag.FlagSet) func(context.Context, []string) error {
			return func(context.Context, []string) error { return writeDocs(t.out) }
		},
	}
}

// writeDocs prints the reference. It depends on nothing but the table.
func writeDocs(w io.Writer) error {
	root := newRoot(&terminal{out: io.Discard, err: io.Discard})
	var b strings.Builder
	b.WriteString("# The command\n\nMade from the table of verbs in `cmd/node` by `make docs`; edit that, not this.\n\n")
	b.WriteString(root.Long + "\n\nEvery verb takes `-o table` (for people) and `-o json` (one document, stable keys).\n")
	document(&b, root, verbs())
	_, err := io.WriteString(w, b.String())
	return err
}

func document(b *strings.Builder, parent *cobra.Command, below []verb) {
	for _, v := range below {
		cmd, _, err := parent.Find([]string{strings.Fields(v.use)[0]})
		if err != nil {
			panic(err) // the command was built from the same table
		}
		fmt.Fprintf(b, "\n## %s\n\n%s.\n\n%s\n", strings.TrimPrefix(cmd.CommandPath(), "muster "), sentenceCase(v.short), v.long)
		if v.body != nil {
			fmt.Fprintf(b, "\n```\n%s\n%s```\n", cmd.UseLine(), cmd.LocalNonPersistentFlags().FlagUsages())
			fmt.Fprintf(b, "\n```\n$ %s\n%s\n```\n", v.example, v.output)
		}
		document(b, cmd, v.verbs)
	}
}

func sentenceCase(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
