package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/shard"
)

var drainVerb = verb{
	use:   "drain NODE",
	short: "move everything off a node",
	long: "Has every primary and copy on the node moved elsewhere, and waits until it is empty; then it can be stopped and removed\n" +
		"without anyone noticing. The drain is in the group's state: after Ctrl-C it goes on, and the same command waits again.\n" +
		"It is refused with code 4 when shards could not be written without the node and no other member can take their place;\n" +
		"they are named. --off ends a drain, --dry-run only judges.",
	example: "muster drain n3 --dry-run",
	output: `NODE  STAGE   PRIMARIES  COPIES
n3    judged  21         64`,
	args: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		d := &drain{remote: remoteFlags(flags, 0)}
		flags.Lookup("timeout").Hidden = true
		d.deadline = flags.Duration("deadline", 30*time.Minute, "wait at most so long; the drain goes on")
		d.wait = flags.Bool("wait", true, "wait until the node is empty")
		d.off = flags.Bool("off", false, "end the drain: the node takes shards again")
		d.dry = flags.Bool("dry-run", false, "only say what would move, and whether it would be refused")
		return func(ctx context.Context, args []string) error {
			if *d.off && *d.dry {
				return misusef("either --off or --dry-run")
			}
			*d.timeout = *d.deadline
			return d.with(ctx, func(ctx context.Context, c *client.Client) error {
				left, err := d.run(ctx, t, c, shard.NodeID(args[0]))
				if err != nil {
					return err
				}
				return t.show(left, func(w *columns) {
					w.row("NODE", "STAGE", "PRIMARIES", "COPIES")
					w.row(left.Node, left.Stage, left.Primaries, left.Copies)
				})
			})
		}
	},
}

type drain struct {
	*remote
	deadline       *time.Duration
	wait, off, dry *bool
}

// leftover is what a node has, learners included.
type leftover struct {
	Node      shard.NodeID `json:"node"`
	Stage     string       `json:"stage"` // judged, draining, done or off
	Primaries int          `json:"primaries"`
	Copies    int          `json:"copies"`
}

func (d *drain) run(ctx context.Context, t *terminal, c *client.Client, node shard.NodeID) (leftover, error) {
	var err error
	if *d.dry {
		_, err = c.JudgeDrain(ctx, node)
	} else {
		_, err = c.Drain(ctx, node, !*d.off)
	}
	if err != nil {
		return leftover{}, err
	}
	left, err := leftOn(ctx, c, node)
	switch {
	case err != nil:
		return left, err
	case *d.dry:
		left.Stage = "judged"
	case *d.wait && !*d.off:
		return d.watch(ctx, t, c, left)
	}
	return left, nil
}

// watch waits until nothing is left. That the group cannot answer for a moment does not end it.
func (d *drain) watch(ctx context.Context, t *terminal, c *client.Client, left leftover) (leftover, error) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	said := leftover{Copies: -1}
	for {
		if left != said {
			said = left
			t.note("node %s: %d primaries, %d copies left", left.Node, left.Primaries, left.Copies)
		}
		switch left.Stage {
		case "done":
			return left, nil
		case "off":
			return left, &shard.Error{Code: shard.CodeConflict, Node: left.Node, Detail: "node " + string(left.Node) + " is not draining any more"}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return left, late(ctx, left)
		}
		now, err := leftOn(ctx, c, left.Node)
		switch {
		case err == nil:
			left = now
		case ctx.Err() != nil:
			return left, late(ctx, left)
		case exitCode(err) != exitAway:
			return left, err
		}
	}
}

func late(ctx context.Context, left leftover) error {
	why := "the time is over"
	if errors.Is(ctx.Err(), context.Canceled) {
		why = "interrupted"
	}
	return shard.Unknownf(shard.CodeTimeout, "%s: node %s has %d primaries and %d copies left; the drain goes on, and the same command waits for it",
		why, left.Node, left.Primaries, left.Copies)
}

// leftOn counts what the leader's map has on the node.
func leftOn(ctx context.Context, c *client.Client, node shard.NodeID) (leftover, error) {
	s, err := c.State(ctx)
	if err != nil {
		return leftover{}, err
	}
	primaries, copies := load(s.View)
	left := leftover{Node: node, Stage: "draining", Primaries: primaries[node], Copies: copies[node]}
	for _, t := range s.View.Types {
		for _, p := range t.Placements {
			if p == nil {
				continue
			}
			for _, l := range p.Learners {
				if l.Copy.Node == node {
					left.Copies++
				}
			}
		}
	}
	switch {
	case !s.View.Members[node].Draining:
		left.Stage = "off"
	case left.Primaries+left.Copies == 0:
		left.Stage = "done"
	}
	return left, nil
}
