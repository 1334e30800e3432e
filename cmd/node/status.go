package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"
)

var statusVerb = verb{
	use:   "status",
	short: "the group at a glance: members, leader, quorum, types",
	long: "Shows the group as the answering node knows it: its members and who leads, whether the required quorum is met, and\n" +
		"how many shards of each type are served. Without a leader the map may be old; its age is shown.\n\n" +
		"health is the worst that is true: ok, degraded (something is down, everything is served), recovering (a shard is not\n" +
		"served), no-quorum (fewer members are up than required), no-leader. A line says so while moving for balance is paused.",
	example: "muster status",
	output: `group   6f3c2c0e-8a65-4b5f-9a39-1f0c8a2a2d11
health  ok
leader  n1 (term 2)
index   42, known to n1 10ms ago
quorum  0 required, 3 up

MEMBER  ADDR             STATUS  VOTER  LEADER  PRIMARIES  COPIES  ZONE  ROLES  MARKS
n1      127.0.0.1:40001  up      yes    yes     22         64      -     -      -
n2      127.0.0.1:40002  up      yes    no      21         64      -     -      -
n3      127.0.0.1:40003  up      yes    no      21         64      -     -      -

TYPE     SHARDS  REPLICAS  MIN ACKS  ACTIVE  RECOVERING  DEGRADED
counter  64      2         1         64      0           0`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := readingFlags(flags)
		return func(ctx context.Context, _ []string) error {
			s, err := r.state(ctx, t)
			if err != nil {
				return err
			}
			report := reportStatus(s)
			return t.show(report, func(w *columns) { report.table(w) })
		}
	},
}

func (r statusReport) table(w *columns) {
	w.row("group", r.UUID)
	w.row("health", r.Health)
	if r.Leader == "" {
		w.row("leader", "none")
	} else {
		w.row("leader", fmt.Sprintf("%s (term %d)", r.Leader, r.Term))
	}
	w.row("index", fmt.Sprintf("%d, known to %s %dms ago", r.Index, r.Node, r.AgeMS))
	quorum := fmt.Sprintf("%d required, %d up", r.Quorum.Required, r.Quorum.Have)
	if !r.Quorum.Met && len(r.Quorum.Missing) > 0 {
		quorum += ", missing " + commas(r.Quorum.Missing)
	}
	w.row("quorum", quorum)
	switch {
	case r.Paused == nil:
	case r.Paused.Until == "":
		w.row("paused", "until resumed: no shard moves for balance")
	default:
		w.row("paused", "until "+r.Paused.Until+": no shard moves for balance")
	}
	// A tab writer aligns what stands together: a line without tabs ends a table.
	fmt.Fprintln(w)
	membersTable(w, r.Members)
	fmt.Fprintln(w)
	typesTable(w, r.Types)
}
