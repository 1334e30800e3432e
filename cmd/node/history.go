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
		"brackets what is lost), which were learning, after an election where the chosen log ended (BASE) and how many records behind\n" +
		"it another copy had to give up (CUT; none of them was confirmed), how long the shard was without a primary before it was\n" +
		"active (TOOK), and what it went on without. The group remembers the last 32, fewer when it has very many shards. Times are\n" +
		"those of the leader's clock, as exactly as leases are renewed: 0s is less than two renewals. The first changes in a group\n" +
		"come before any renewal: their time is not known, at most that it is before another.",
	example: "muster history counter/30",
	output: `TIME                  INDEX  EPOCH  VERSION  STATUS        CAUSE      PRIMARY  COPIES    LEARNERS  BASE  CUT  TOOK  WITHOUT
2026-01-01T12:00:00Z  12     0      1        forming       created    -        n1,n2,n3  -         -     -    -     -
2026-01-01T12:00:00Z  15     1      1        establishing  created    n1       n1,n2,n3  -         -     -    -     -
2026-01-01T12:00:01Z  18     1      1        active        activated  n1       n1,n2,n3  -         -     -    -     -`,
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
				for i, one := range changes {
					r := reportChange(one)
					r.TookMS = took(changes[:i+1])
					all = append(all, r)
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
	Base     string              `json:"base"`      // LSN@epoch at which the chosen log ended
	Cut      shard.LSN           `json:"truncated"` // so many records of another copy were not in it
	TookMS   *int64              `json:"took_ms"`   // of the change that makes it active: how long it had no primary; null when unknown
	GivenUp  []seatReport        `json:"given_up"`  // what it went on without
}

type seatReport struct {
	Copy shard.CopyID `json:"copy"`
	Node shard.NodeID `json:"node"`
	Lost bool         `json:"lost"`
}

func reportChange(c fsm.Change) changeReport {
	r := changeReport{
		Index: c.Index, Epoch: c.Epoch, Version: c.Version, Status: c.Status.String(), Cause: c.Cause, Primary: c.Node, HandTo: c.HandNode,
		Cut: c.Cut, Copies: seats(c.Copies), Learners: seats(c.Learners), GivenUp: seats(c.GivenUp),
	}
	if c.Time != 0 {
		r.Time = moment(c.Time)
	}
	if c.Base != (shard.Position{}) {
		r.Base = c.Base.String()
	}
	return r
}

// took is how long the shard had no primary that served until the last of the changes made it active, in milliseconds; nil when it
// did not, or when that is not remembered.
func took(changes []fsm.Change) *int64 {
	last := len(changes) - 1
	first := last
	for first > 0 && changes[first-1].Status != shard.Active {
		first--
	}
	began, ended := changes[first], changes[last]
	if ended.Status != shard.Active || first == last || began.Time == 0 || first == 0 && began.Epoch != 0 {
		return nil
	}
	ms := ended.Time - began.Time
	return &ms
}

func seats(list []fsm.Seat) []seatReport {
	all := []seatReport{}
	for _, s := range list {
		all = append(all, seatReport{s.Copy, s.Node, s.Lost})
	}
	return all
}

func historyTable(w *columns, all []changeReport) {
	w.row("TIME", "INDEX", "EPOCH", "VERSION", "STATUS", "CAUSE", "PRIMARY", "COPIES", "LEARNERS", "BASE", "CUT", "TOOK", "WITHOUT")
	for i, c := range all {
		primary := string(c.Primary)
		if c.HandTo != "" {
			primary += " → " + string(c.HandTo)
		}
		cut, took := "", ""
		if c.Cut > 0 {
			cut = fmt.Sprint(c.Cut)
		}
		if c.TookMS != nil {
			took = age(time.Duration(*c.TookMS) * time.Millisecond)
		}
		w.row(timeOf(all, i), c.Index, c.Epoch, c.Version, c.Status, c.Cause, primary, seatNames(c.Copies), seatNames(c.Learners), c.Base, cut, took, seatNames(c.GivenUp))
	}
}

// timeOf is when a change was, as far as is known: the first of a group come before the first renewal, which brings the time into the log.
func timeOf(all []changeReport, i int) string {
	if all[i].Time != "" {
		return all[i].Time
	}
	for _, later := range all[i:] {
		if later.Time != "" {
			return "before " + later.Time
		}
	}
	return ""
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
