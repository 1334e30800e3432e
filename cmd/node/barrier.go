package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"muster/barrier"
	"muster/client"
	"muster/shard"
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
		"When the timeout passes, code 3, and after Ctrl-C, code 130, the arrival is taken back; that is waited for a moment. What opened\n" +
		"before is shown all the same, with code 0.",
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
			if *participant == "" {
				*participant = party()
			}
			return r.with(ctx, func(ctx context.Context, c *client.Client) error {
				out, err := c.Barrier(ctx, args[0], *parties, *participant)
				var fault *shard.Error
				if errors.As(err, &fault) && errors.Is(ctx.Err(), context.Canceled) {
					if fault.Outcome == shard.NotApplied && fault.Code == shard.CodeTimeout {
						return interrupted(fmt.Sprintf("the arrival of %s at barrier %s was taken back", *participant, args[0]))
					}
					return left(c, barrier.Name(args[0]), barrier.Participant(*participant))
				}
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

// party names a party that was given no name, so that its arrival can be told from others when it is taken back.
func party() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%.64s-%d-%s", strings.ToValidUTF8(host, ""), os.Getpid(), rand.Text()[:6])
}

// departure bounds how long an interrupted party looks whether its arrival is gone.
const departure = 3 * time.Second

// left looks what became of the arrival of a party that was interrupted, when its node did not say: it was lost, or is of an earlier build. A node
// takes it back when the call breaks off.
func left(c *client.Client, name barrier.Name, who barrier.Participant) error {
	ctx, cancel := context.WithTimeout(context.Background(), departure)
	defer cancel()
	tick := time.NewTicker(departure / 30)
	defer tick.Stop()
	for {
		if s, err := c.State(ctx); err == nil && !waits(s.Barriers, name, who) {
			return interrupted(fmt.Sprintf("%s does not wait at barrier %s any more: unless it opened in this very moment, the arrival was taken back", who, name))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return unsure(fmt.Sprintf("it is not known whether the arrival of %s at barrier %s was taken back: see muster barrier list", who, name))
		}
	}
}

func waits(rounds []barrier.Round, name barrier.Name, who barrier.Participant) bool {
	i := slices.IndexFunc(rounds, func(r barrier.Round) bool { return r.Name == name })
	return i >= 0 && slices.ContainsFunc(rounds[i].Arrived, func(p barrier.Party) bool { return p.Participant == who })
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
