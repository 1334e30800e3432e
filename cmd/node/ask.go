package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/entity"
	"muster/shard"
)

var askVerb = verb{
	use:   "ask TYPE ENTITY COMMAND [JSON]",
	short: "send a command to an entity and print its reply",
	long: "Sends a command, JSON in, to an entity wherever it is, and prints the reply, JSON out, once everything it rests on is\n" +
		"confirmed. Without JSON the command has no content. It is sent once: when the outcome is unknown the error says so.",
	example: `muster ask counter hits add '{"n":5}'`,
	output:  `{"value":5}`,
	args:    3, most: 4,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := remoteFlags(flags, defaultTimeout)
		return func(ctx context.Context, args []string) error {
			e, err := envelope(args)
			if err != nil {
				return err
			}
			return r.with(ctx, func(ctx context.Context, c *client.Client) error {
				reply, err := c.Ask(ctx, e)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(t.out, "%s\n", reply)
				return err
			})
		}
	},
}

// envelope makes a command of the arguments TYPE ENTITY COMMAND [JSON].
func envelope(args []string) (entity.Envelope, error) {
	e := entity.Envelope{Type: shard.TypeName(args[0]), Entity: shard.EntityID(args[1]), Command: args[2], Payload: []byte("null")}
	if len(args) > 3 {
		e.Payload = []byte(args[3])
	}
	if !json.Valid(e.Payload) {
		return e, misusef("%q is not JSON", args[3])
	}
	return e, e.Validate()
}
