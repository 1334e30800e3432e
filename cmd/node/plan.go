package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

var planVerb = verb{
	use:   "plan",
	short: "what the leader does next, and why nothing else",
	long: "Shows the leader's newest plan: each step it has just proposed, each thing it leaves alone with the reason, and after\n" +
		"those the moves that would make the group even. Of a group at rest there is nothing to show.",
	example: "muster plan",
	output:  `nothing is to be done`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := remoteFlags(flags, defaultTimeout)
		return func(ctx context.Context, _ []string) error {
			return r.with(ctx, func(ctx context.Context, c *client.Client) error {
				lines, err := c.Plan(ctx)
				if err != nil {
					return err
				}
				s, err := c.State(ctx)
				if err != nil {
					return err
				}
				p := planReport{Steps: []stepReport{}, Moves: reportMoves(plan.Balance(s.View)), Paused: s.View.Paused}
				for _, l := range lines {
					p.Steps = append(p.Steps, stepReport{l.Step, l.Reason, l.Text})
				}
				return t.show(p, p.table)
			})
		}
	},
}

type planReport struct {
	Paused bool         `json:"paused"`
	Steps  []stepReport `json:"steps"`
	Moves  []moveReport `json:"moves"`
}

type stepReport struct {
	Step   string `json:"step"` // "" when nothing is done
	Reason string `json:"reason"`
	Text   string `json:"text"`
}

type moveReport struct {
	Type   shard.TypeName `json:"type"`
	Shard  shard.Number   `json:"shard"`
	Kind   plan.Kind      `json:"kind"` // copy or lead
	From   shard.NodeID   `json:"from"`
	To     shard.NodeID   `json:"to"`
	Reason plan.Reason    `json:"reason"`
}

func reportMoves(moves []plan.Move) []moveReport {
	all := []moveReport{}
	for _, m := range moves {
		all = append(all, moveReport{m.Shard.Type, m.Shard.Number, m.Kind, m.From, m.To, m.Reason})
	}
	return all
}

func (p planReport) table(w *columns) {
	if p.Paused {
		fmt.Fprintln(w, "balancing is paused")
	}
	if len(p.Steps)+len(p.Moves) == 0 {
		fmt.Fprintln(w, "nothing is to be done")
		return
	}
	if len(p.Steps) > 0 {
		w.row("STEP", "REASON", "WHAT")
		for _, s := range p.Steps {
			w.row(s.Step, s.Reason, s.Text)
		}
	}
	if len(p.Moves) > 0 {
		movesTable(w, p.Moves)
	}
}

func movesTable(w *columns, moves []moveReport) {
	w.row("SHARD", "MOVE", "FROM", "TO", "REASON")
	for _, m := range moves {
		w.row(shard.ID{Type: m.Type, Number: m.Shard}, m.Kind, m.From, m.To, m.Reason)
	}
}

var rebalanceVerb = verb{
	use:   "rebalance --dry-run",
	short: "the moves that would make the group even",
	long: "Lists every move that the group as it is now calls for, in order of importance, as if none had to be waited for. The\n" +
		"leader makes them by itself, a few at a time, so nothing has to be started; pause stops those for balance alone. A\n" +
		"balanced group has none.",
	example: "muster rebalance --dry-run",
	output:  `no moves: the group is even`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := readingFlags(flags)
		dry := flags.Bool("dry-run", false, "only show the moves")
		return func(ctx context.Context, _ []string) error {
			if !*dry {
				return misusef("the leader rebalances by itself: see what is left with --dry-run, stop it with muster pause")
			}
			s, err := r.state(ctx, t)
			if err != nil {
				return err
			}
			moves := reportMoves(plan.Balance(s.View))
			return t.show(moves, func(w *columns) {
				if len(moves) == 0 {
					fmt.Fprintln(w, "no moves: the group is even")
					return
				}
				movesTable(w, moves)
			})
		}
	},
}

var whatIfVerb = verb{
	use:   "what-if --lose NODE...",
	short: "what the loss of nodes would mean",
	long: "Says which shards would stop, which would go on with fewer copies than they should have, and which would lose their last\n" +
		"copy, if the nodes were lost at once and before anything is repaired. Of those that would stop it names the ones whose type\n" +
		"has LossyFailover: they go on after a while, without what only the lost copies hold.",
	example: "muster what-if --lose n2 n3",
	most:    mostLost,
	output: `LOST   STOP  DEGRADED  LAST COPY
n2,n3  64    0         0
stop: counter/0, counter/1, counter/2, counter/3, counter/4, counter/5, counter/6, counter/7 and 56 more`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := readingFlags(flags)
		lose := flags.StringSlice("lose", nil, "the nodes to lose")
		return func(ctx context.Context, more []string) error {
			if len(*lose) == 0 {
				return misusef("--lose NODE: nothing is lost")
			}
			s, err := r.state(ctx, t)
			if err != nil {
				return err
			}
			var lost []shard.NodeID
			for _, n := range append(*lose, more...) {
				if _, known := s.View.Members[shard.NodeID(n)]; !known {
					return shard.Errorf(shard.CodeNotFound, "there is no node %s", n)
				}
				lost = append(lost, shard.NodeID(n))
			}
			slices.Sort(lost)
			o := outlookOf(s.View, slices.Compact(lost))
			return t.show(o, o.table)
		}
	},
}

// mostLost is how many more nodes can be named behind the first.
const mostLost = 1_000

type outlook struct {
	Lost     []shard.NodeID `json:"lost"`
	Stop     []string       `json:"stop"`
	Lossy    []string       `json:"lossy"` // of those in stop
	Degraded []string       `json:"degraded"`
	LastCopy []string       `json:"last_copy"`
}

func outlookOf(v *shard.View, lost []shard.NodeID) outlook {
	o := plan.WhatIf(&fsm.State{View: v}, lost)
	return outlook{lost, ids(o.Stops), ids(o.Lossy), ids(o.Degraded), ids(o.LastCopy)}
}

func ids(list []shard.ID) []string {
	texts := []string{}
	for _, id := range list {
		texts = append(texts, id.String())
	}
	return texts
}

// mostListed is how many shards a table names; JSON has all.
const mostListed = 8

func (o outlook) table(w *columns) {
	w.row("LOST", "STOP", "DEGRADED", "LAST COPY")
	w.row(commas(o.Lost), len(o.Stop), len(o.Degraded), len(o.LastCopy))
	for _, of := range []struct {
		what string
		ids  []string
	}{{"stop", o.Stop}, {"degraded", o.Degraded}, {"last copy", o.LastCopy}, {"stop, and go on after a while with a loss", o.Lossy}} {
		if len(of.ids) > 0 {
			fmt.Fprintf(w, "%s: %s\n", of.what, first(of.ids))
		}
	}
}

func first(texts []string) string {
	line := ""
	for i, s := range texts {
		if i == mostListed {
			return line + fmt.Sprintf(" and %d more", len(texts)-i)
		}
		if i > 0 {
			line += ", "
		}
		line += s
	}
	return line
}
