package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/shard"
)

// orderReport is what became of an order.
type orderReport struct {
	Stage  string   `json:"stage"`
	Before string   `json:"before"`
	After  string   `json:"after"`
	Notes  []string `json:"notes"`
}

// showDone prints what became of an order.
func (t *terminal) showDone(d client.Done) error {
	r := orderReport{d.Stage, d.Before, d.After, list(d.Notes)}
	return t.show(r, func(w *columns) {
		w.row("STAGE", "BEFORE", "AFTER")
		w.row(r.Stage, r.Before, r.After)
		for _, n := range r.Notes {
			t.note("%s", n)
		}
	})
}

// showHalted prints also how far an order is that is not waited for any longer.
func (t *terminal) showHalted(d client.Done, err error) error {
	var h halt
	if err != nil && !(errors.As(err, &h) && d.Stage != "") {
		return err
	}
	return errors.Join(t.showDone(d), err)
}

// order is the body of a verb that is one order and no more.
func order(flags *pflag.FlagSet, t *terminal, give func(context.Context, *client.Client, []string) (client.Done, error)) func(context.Context, []string) error {
	r := remoteFlags(flags, defaultTimeout)
	return func(ctx context.Context, args []string) error {
		return r.with(ctx, func(ctx context.Context, c *client.Client) error {
			done, err := give(ctx, c, args)
			if err != nil {
				return err
			}
			return t.showDone(done)
		})
	}
}

var cordonVerb = verb{
	use:   "cordon NODE",
	short: "place nothing new on a node",
	long: "From now on no new copy and no new shard is placed on the node. What it has it keeps; drain moves that away. It stays\n" +
		"so over restarts, until uncordon.",
	example: "muster cordon n3",
	output: `STAGE  BEFORE  AFTER
done   up      up, cordoned`,
	args: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		return order(flags, t, func(ctx context.Context, c *client.Client, args []string) (client.Done, error) {
			return c.Cordon(ctx, shard.NodeID(args[0]), true)
		})
	},
}

var uncordonVerb = verb{
	use:     "uncordon NODE",
	short:   "place new things on a node again",
	long:    "Lifts what cordon set. What drain set it leaves alone.",
	example: "muster uncordon n3",
	output: `STAGE  BEFORE        AFTER
done   up, cordoned  up`,
	args: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		return order(flags, t, func(ctx context.Context, c *client.Client, args []string) (client.Done, error) {
			return c.Cordon(ctx, shard.NodeID(args[0]), false)
		})
	},
}

// span is a setting that is set for a time, or lifted.
type span struct {
	last *time.Duration
	off  *bool
}

func spanFlags(flags *pflag.FlagSet) span {
	return span{
		last: flags.Duration("for", 0, "set it for so long; the leader lifts it then"),
		off:  flags.Bool("off", false, "lift it now"),
	}
}

func (s span) check() error {
	switch {
	case *s.off == (*s.last != 0):
		return misusef("either --for DURATION or --off")
	case *s.last < 0:
		return misusef("for = %s, must be above 0", *s.last)
	}
	return nil
}

var maintenanceVerb = verb{
	use:   "maintenance NODE --for DURATION | --off",
	short: "expect a node to be down for a while",
	long: "Says that the node may be down and will be back: meanwhile its copies are not rebuilt elsewhere. The leader ends it by\n" +
		"itself after the time. The shards the node leads are taken over by others in any case.",
	example: "muster maintenance n3 --for 10m",
	output: `STAGE  BEFORE  AFTER
done   up      up, maintenance until 2026-01-01T12:00:00Z`,
	args: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		s := spanFlags(flags)
		run := order(flags, t, func(ctx context.Context, c *client.Client, args []string) (client.Done, error) {
			return c.Maintain(ctx, shard.NodeID(args[0]), !*s.off, *s.last)
		})
		return func(ctx context.Context, args []string) error {
			if err := s.check(); err != nil {
				return err
			}
			return run(ctx, args)
		}
	},
}

var pauseVerb = verb{
	use:   "pause --for DURATION | --off",
	short: "stop moving shards for balance",
	long: "Stops the moves that only make the load more even. Recovery, repair and drains go on. The leader ends it by itself after\n" +
		"the time.",
	example: "muster pause --for 10m",
	output: `STAGE  BEFORE     AFTER
done   balancing  paused until 2026-01-01T12:00:00Z`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		s := spanFlags(flags)
		run := order(flags, t, func(ctx context.Context, c *client.Client, _ []string) (client.Done, error) {
			return c.Pause(ctx, !*s.off, *s.last)
		})
		return func(ctx context.Context, args []string) error {
			if err := s.check(); err != nil {
				return err
			}
			return run(ctx, args)
		}
	},
}

var removeVerb = verb{
	use:   "remove NODE",
	short: "take a node out of the group for good",
	long: "Forgets a node that is down and will not be back. Its copies are made anew elsewhere at once, and its data directory is\n" +
		"never admitted again. It is refused with code 4 while the node is up, and while a shard would be left with fewer copies\n" +
		"than it needs: drain the node first, or wait. Here n3 still runs.",
	example: "muster remove n3",
	output:  `muster: remove: conflict: node n3 is up: stop it first`,
	args:    1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		return order(flags, t, func(ctx context.Context, c *client.Client, args []string) (client.Done, error) {
			return c.Remove(ctx, shard.NodeID(args[0]))
		})
	},
}
