package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/shard"
)

// progressEvery is how often long work is looked at.
const progressEvery = 300 * time.Millisecond

var pinVerb = verb{
	use:   "pin TYPE/SHARD NODE | --off",
	short: "prefer a node as the primary of a shard",
	long: "Balancing brings the primary to the node when it can and leaves it there. Safety comes first: when the node is down\n" +
		"another leads. --off lifts the preference.",
	example: "muster pin counter/30 n2",
	output: `STAGE  BEFORE        AFTER
done   active on n1  active on n1, pinned to n2`,
	args: 1, most: 2,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		off := flags.Bool("off", false, "lift the preference")
		run := order(flags, t, func(ctx context.Context, c *client.Client, args []string) (client.Done, error) {
			id, err := shard.ParseID(args[0])
			if err != nil {
				return client.Done{}, err
			}
			return c.Pin(ctx, id, shard.NodeID(append(args, "")[1]))
		})
		return func(ctx context.Context, args []string) error {
			if *off == (len(args) == 2) {
				return misusef("either NODE or --off")
			}
			return run(ctx, args)
		}
	},
}

var moveVerb = verb{
	use:   "move TYPE/SHARD NODE",
	short: "hand a shard's primary to a node",
	long: "Asks the primary to hand over to the copy on the node, and waits until that leads. When the node has no copy one is made\n" +
		"there first, in the place of another. Nothing is lost by Ctrl-C: the same command goes on where the group is. Without a\n" +
		"pin balancing may move the shard again.",
	example: "muster move counter/30 n2",
	output: `STAGE  BEFORE                       AFTER
done   active on n2, pinned to n2  active on n2, pinned to n2`,
	args: 2,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := remoteFlags(flags, time.Minute)
		wait := flags.Bool("wait", true, "wait until it is done")
		return func(ctx context.Context, args []string) error {
			id, err := shard.ParseID(args[0])
			if err != nil {
				return err
			}
			return r.with(ctx, func(ctx context.Context, c *client.Client) error {
				done, err := t.move(ctx, c, id, shard.NodeID(args[1]), *wait)
				return t.showHalted(done, err)
			})
		}
	},
}

// move repeats the order until the shard is there. What it is waiting for is said whenever that changes.
func (t *terminal) move(ctx context.Context, c *client.Client, id shard.ID, to shard.NodeID, wait bool) (client.Done, error) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	said, before := "", ""
	for {
		done, err := c.Move(ctx, id, to)
		if before == "" {
			before = done.Before
		}
		done.Before = before
		begun := said != "" && err != nil && exitCode(err) == exitAway // that nobody can answer for a moment does not end it
		if err != nil && !begun || done.Stage == "done" || !wait {
			return done, err
		}
		if err == nil && said != done.Stage {
			said = done.Stage
			t.note("%s: %s", id, movePhase(said))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			done.Stage = said
			return done, halted(ctx, "shard %s is not there yet: %s; the group goes on with it, and muster move %s %s waits for it", id, movePhase(said), id, to)
		}
	}
}

func movePhase(stage string) string {
	switch stage {
	case "copying":
		return "a copy is made on the node"
	case "handing":
		return "the primary is asked to hand over"
	case "waiting":
		return "it is between two primaries"
	}
	return fmt.Sprintf("stage %s", stage)
}
