package main

import (
	"context"
	"time"

	"github.com/spf13/pflag"

	"muster/barrier"
	"muster/client"
)

var barrierVerb = verb{
	use:   "barrier",
	short: "meet other processes at a named point",
	long:  "A barrier holds whoever arrives until as many parties as it takes are in, and then lets all of them go together.",
	verbs: []verb{barrierWaitVerb, barrierListVerb},
}

var barrierWaitVerb = verb{
	use:   "wait NAME --parties N",
	short: "arrive at a barrier and wait for the others",
	long: "Arrives at the barrier and waits until N parties are in, from whatever nodes, programs and shells they arrive. The first\n" +
		"to arrive says how many; another number is refused. A name given by --participant makes a repeated arrival the same one.\n" +
		"When the timeout passes the arrival is taken back.",
	example: "muster barrier wait deploy --parties 1 --participant web-1",
	output: `BARRIER  GENERATION  PARTIES  PARTICIPANTS
deploy   1           1        web-1`,
	args: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := remoteFlags(flags, time.Minute)
		parties := flags.Int("parties", 0, "how many must arrive")
		participant := flags.String("participant", "", "who arrives; empty means a party of its own")
		return func(ctx context.Context, args []string) error {
			if *parties < 1 || *parties > barrier.MaxParties {
				return misusef("parties = %d, must be 1 to %d", *parties, barrier.MaxParties)
			}
			return r.with(ctx, func(ctx context.Context, c *client.Client) error {
				out, err := c.Barrier(ctx, args[0], *parties, *participant)
				if err != nil {
					return err
				}
				done := release{args[0], out.Generation, out.Parties, list(out.Participants)}
				return t.show(done, func(w *columns) {
					w.row("BARRIER", "GENERATION", "PARTIES", "PARTICIPANTS")
					w.row(done.Name, done.Generation, done.Parties, commas(done.Participants))
				})
			})
		}
	},
}

type release struct {
	Name         string                `json:"name"`
	Generation   barrier.Generation    `json:"generation"`
	Parties      int                   `json:"parties"`
	Participants []barrier.Participant `json:"participants"`
}

var barrierListVerb = verb{
	use:     "list",
	short:   "the barriers somebody waits at",
	long:    "Lists every barrier somebody waits at: how many parties it takes, who is in, and who said how many.",
	example: "muster barrier list",
	output: `BARRIER  GENERATION  PARTIES  ARRIVED  FIRST  WAITING
deploy   2           3        1        web-1  web-1`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		// Only voters hold barriers, so the leader is asked: any other node would have to guess.
		r := remoteFlags(flags, defaultTimeout)
		return func(ctx context.Context, _ []string) error {
			return r.with(ctx, func(ctx context.Context, c *client.Client) error {
				s, err := c.State(ctx)
				if err != nil {
					return err
				}
				rounds := []round{}
				for _, b := range s.Barriers {
					rounds = append(rounds, roundOf(b))
				}
				return t.show(rounds, func(w *columns) {
					w.row("BARRIER", "GENERATION", "PARTIES", "ARRIVED", "FIRST", "WAITING")
					for _, b := range rounds {
						w.row(b.Name, b.Generation, b.Parties, b.Arrived, b.First, commas(b.Waiting))
					}
				})
			})
		}
	},
}

type round struct {
	Name       barrier.Name          `json:"name"`
	Generation barrier.Generation    `json:"generation"`
	Parties    int                   `json:"parties"`
	Arrived    int                   `json:"arrived"`
	First      barrier.Participant   `json:"first"`
	Waiting    []barrier.Participant `json:"waiting"`
}

func roundOf(b barrier.Round) round {
	r := round{b.Name, b.Generation, b.Parties, len(b.Arrived), b.First, []barrier.Participant{}}
	for _, p := range b.Arrived {
		r.Waiting = append(r.Waiting, p.Participant)
	}
	return r
}
