package main

import (
	"context"
	"strconv"

	"github.com/spf13/pflag"

	"muster/client"
)

var quorumVerb = verb{
	use:   "quorum",
	short: "how many members must be up",
	long: "The required quorum is a number the group agrees on: how many members must be up for it to count as complete. Programs\n" +
		"wait for it and status shows it; it stops nothing by itself.",
	verbs: []verb{quorumGetVerb, quorumSetVerb},
}

var quorumGetVerb = verb{
	use:     "get",
	short:   "the required quorum and whether it is met",
	long:    "Asks the leader how many members must be up, how many are, and who is missing. Without a leader it fails with code 3.",
	example: "muster quorum get",
	output: `REQUIRED  HAVE  MET  MISSING
2         3     yes  -`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := remoteFlags(flags, defaultTimeout)
		return func(ctx context.Context, _ []string) error {
			return r.with(ctx, func(ctx context.Context, c *client.Client) error { return t.showQuorum(ctx, c) })
		}
	},
}

var quorumSetVerb = verb{
	use:   "set N",
	short: "set the required quorum, 0 for none",
	long: "Sets how many members must be up and shows how that stands. It may be more than there are members now. Repeating it is\n" +
		"harmless.",
	example: "muster quorum set 2",
	output: `REQUIRED  HAVE  MET  MISSING
2         3     yes  -`,
	args: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := remoteFlags(flags, defaultTimeout)
		return func(ctx context.Context, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 0 {
				return misusef("%q is not a number of members", args[0])
			}
			return r.with(ctx, func(ctx context.Context, c *client.Client) error {
				if err := c.SetRequiredQuorum(ctx, n); err != nil {
					return err
				}
				return t.showQuorum(ctx, c)
			})
		}
	},
}

func (t *terminal) showQuorum(ctx context.Context, c *client.Client) error {
	gate, err := c.RequiredQuorum(ctx)
	if err != nil {
		return err
	}
	q := reportQuorum(gate)
	return t.show(q, func(w *columns) {
		w.row("REQUIRED", "HAVE", "MET", "MISSING")
		w.row(q.Required, q.Have, yes(q.Met), commas(q.Missing))
	})
}
