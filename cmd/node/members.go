package main

import (
	"context"

	"github.com/spf13/pflag"
)

var membersVerb = verb{
	use:   "members",
	short: "every node of the group, voter or not",
	long: "Lists the nodes the group knows, up or down, with what they serve: how many shards each is the primary of and how many\n" +
		"copies it holds.",
	example: "muster members",
	output: `MEMBER  ADDR             STATUS  VOTER  LEADER  PRIMARIES  COPIES  ZONE  ROLES  MARKS
n1      127.0.0.1:40001  up      yes    yes     22         64      -     -      -
n2      127.0.0.1:40002  up      yes    no      21         64      -     -      -
n3      127.0.0.1:40003  up      yes    no      21         64      -     -      -`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := readingFlags(flags)
		return func(ctx context.Context, _ []string) error {
			s, err := r.state(ctx, t)
			if err != nil {
				return err
			}
			members := reportMembers(s)
			return t.show(members, func(w *columns) { membersTable(w, members) })
		}
	},
}

func membersTable(w *columns, members []memberReport) {
	w.row("MEMBER", "ADDR", "STATUS", "VOTER", "LEADER", "PRIMARIES", "COPIES", "ZONE", "ROLES", "MARKS")
	for _, m := range members {
		w.row(m.ID, m.Addr, m.Status, yes(m.Voter), yes(m.Leader), m.Primaries, m.Copies, m.Zone, commas(m.Roles), commas(m.Marks))
	}
}
