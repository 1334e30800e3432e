package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/fsm"
	"muster/shard"
)

var historyVerb = verb{
	use:   "history TYPE/SHARD",
	short: "what became of a shard, change by change",
	long: "Lists the newest changes of a shard's placement, oldest first: why each happened, who led, which copies counted (in\n" +
		"brackets what is lost), which were learning, after an election where the chosen log ended, and what it went on without.\n" +
		"The group remembers the last 32, fewer when it has very many shards. Times are those of the leader's clock, as exactly as\n" +
		"leases are renewed.",
	example: "muster history counter/30",
	output: `TIME                  INDEX  EPOCH  VERSION  STATUS        CAUSE      PRIMARY  COPIES    LEARNERS  BASE  WITHOUT
2026-01-01T12:00:00Z  12     0      1        forming       created    -        n1,n2,n3  -         -     -
2026-01-01T12:00:00Z  15     1      1        establishing  created    n1       n1,n2,n3  -         -     -
2026-01-01T12:00:01Z  18     1      1        active        activated  n1       n1,n2,n3  -         -     -`,
	args: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := remoteFlags(flags, defaultTimeout)
		return func(ctx context.Context, args []string) error {
			id, err := shard.ParseID(args[0])
			if err != nil {
				return err
			}
			return r.with(ctx, func(ctx context.Context, c *client.Client) error {
				changes, err := c.History(ctx, id)
				if err != nil {
					return err
				}
				all := []changeReport{}
				for _, one := range changes {
					all = append(all, reportChange(one))
				}
				return t.show(all, func(w *columns) { historyTable(w, all) })
			})
		}
	},
}

type changeReport struct {
	Time     string              `json:"time"` // RFC 3339; "" when unknown
	Index    shard.Index         `json:"index"`
	Epoch    shard.Epoch         `json:"epoch"`
	Version  shard.ConfigVersion `json:"config_version"`
	Status   string              `json:"status"`
	Cause    shard.Cause         `json:"cause"`
	Primary  shard.NodeID        `json:"primary"`
	HandTo   shard.NodeID        `json:"hand_to"` // where the primary is asked to go
	Copies   []seatReport        `json:"copies"`
	Learners []seatReport        `json:"learners"`
	Base     string              `json:"base"`     // LSN@epoch at which the chosen log ended
	GivenUp  []seatReport        `json:"given_up"` // what it went on without
}

type seatReport struct {
	Copy shard.CopyID `json:"copy"`
	Node shard.NodeID `json:"node"`
	Lost bool         `json:"lost"`
}

func reportChange(c fsm.Change) changeReport {
	r := changeReport{
		Index: c.Index, Epoch: c.Epoch, Version: c.Version, Status: c.Status.String(), Cause: c.Cause, Primary: c.Node, HandTo: c.HandNode,
		Copies: seats(c.Copies), Learners: seats(c.Learners), GivenUp: seats(c.GivenUp),
	}
	if c.Time != 0 {
		r.Time = time.UnixMilli(c.Time).UTC().Format(time.RFC3339)
	}
	if c.Base != (shard.Position{}) {
		r.Base = c.Base.String()
	}
	return r
}

func seats(list []fsm.Seat) []seatReport {
	all := []seatReport{}
	for _, s := range list {
		all = append(all, seatReport{s.Copy, s.Node, s.Lost})
	}
	return all
}

func historyTable(w *columns, all []changeReport) {
	w.row("TIME", "INDEX", "EPOCH", "VERSION", "STATUS", "CAUSE", "PRIMARY", "COPIES", "LEARNERS", "BASE", "WITHOUT")
	for _, c := range all {
		primary := string(c.Primary)
		if c.HandTo != "" {
			primary += " → " + string(c.HandTo)
		}
		w.row(c.Time, c.Index, c.Epoch, c.Version, c.Status, c.Cause, primary, seatNames(c.Copies), seatNames(c.Learners), c.Base, seatNames(c.GivenUp))
	}
}

func seatNames(list []seatReport) string {
	names := make([]string, len(list))
	for i, s := range list {
		if names[i] = string(s.Node); s.Lost {
			names[i] = fmt.Sprintf("[%s]", s.Node)
		}
	}
	return strings.Join(names, ",")
}
