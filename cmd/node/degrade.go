package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/shard"
)

var degradeVerb = verb{
	use:   "degrade TYPE/SHARD --copies N | --off",
	short: "let a shard confirm with fewer copies for a while",
	long: "A shard whose primary is there but too few of its copies are confirms nothing. This allows the primary to leave out the\n" +
		"copies that are lost or have owed an answer for twice ack_timeout, and to confirm with those that are left, as few as N,\n" +
		"itself among them. What is confirmed then survives the loss of fewer copies than min_acks says: shards and explain show it.\n" +
		"When copies are back the write quorum rises with each that joins, and with the type's own the permission is over. --off\n" +
		"takes it back before. Refused while enough copies are up, and for a shard without a primary: see recover.",
	example: "muster degrade counter/30 --copies 1",
	output:  `muster: degrade: conflict (counter/30, epoch 1): 3 of its copies are up, and it writes to 2: nothing is missing`,
	args:    1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		copies := flags.Int("copies", 0, "confirm with so few, the primary among them")
		off := flags.Bool("off", false, "take the permission back")
		run := order(flags, t, func(ctx context.Context, c *client.Client, args []string) (client.Done, error) {
			id, err := shard.ParseID(args[0])
			if err != nil {
				return client.Done{}, err
			}
			return c.Degrade(ctx, id, *copies)
		})
		return func(ctx context.Context, args []string) error {
			switch {
			case *off == flags.Changed("copies"):
				return misusef("either --copies N or --off")
			case !*off && (*copies < 1 || *copies > shard.MaxReplicas):
				return misusef("--copies %d, must be 1 to %d", *copies, shard.MaxReplicas)
			}
			return run(ctx, args)
		}
	},
}

// writesTo tells a write quorum, and the type's own when it is lower.
func writesTo(p shardReport) string {
	if p.Degraded {
		return fmt.Sprintf("%d/%d", p.WriteQuorum, p.FullQuorum)
	}
	return fmt.Sprint(p.WriteQuorum)
}
