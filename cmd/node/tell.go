package main

import (
	"context"

	"github.com/spf13/pflag"

	"muster/client"
)

var tellVerb = verb{
	use:     "tell TYPE ENTITY COMMAND [JSON]",
	short:   "send a command to an entity and wait until it is confirmed",
	long:    "Sends a command as ask does, waits until what it changed is confirmed, and prints nothing of the reply.",
	example: `muster tell counter hits add '{"n":5}'`,
	output:  "confirmed",
	args:    3, most: 4,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := remoteFlags(flags, defaultTimeout)
		return func(ctx context.Context, args []string) error {
			e, err := envelope(args)
			if err != nil {
				return err
			}
			return r.with(ctx, func(ctx context.Context, c *client.Client) error {
				if err := c.Tell(ctx, e); err != nil {
					return err
				}
				return t.show(map[string]bool{"confirmed": true}, func(w *columns) { w.row("confirmed") })
			})
		}
	},
}
