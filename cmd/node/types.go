package main

import (
	"context"

	"github.com/spf13/pflag"
)

var typesVerb = verb{
	use:   "types",
	short: "every entity type and how its shards stand",
	long: "Lists the registered entity types: their options, and how many of their shards are active, recovering (not served now,\n" +
		"for whatever reason) and degraded (served, with a copy lost or on a node that is down).",
	example: "muster types",
	output: `TYPE     SHARDS  REPLICAS  MIN ACKS  ACTIVE  RECOVERING  DEGRADED
counter  64      2         1         64      0           0`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := readingFlags(flags)
		return func(ctx context.Context, _ []string) error {
			s, err := r.state(ctx, t)
			if err != nil {
				return err
			}
			types := reportTypes(s.View)
			return t.show(types, func(w *columns) { typesTable(w, types) })
		}
	},
}

func typesTable(w *columns, types []typeReport) {
	w.row("TYPE", "SHARDS", "REPLICAS", "MIN ACKS", "ACTIVE", "RECOVERING", "DEGRADED")
	for _, t := range types {
		w.row(t.Name, t.Shards, t.Replicas, t.MinAcks, t.Active, t.Recovering, t.Degraded)
	}
}
