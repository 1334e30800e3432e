package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

var explainVerb = verb{
	use:   "explain TYPE/SHARD",
	short: "why a shard is where it is, and what it waits for",
	long: "Says in sentences where a shard stands, what is under way, what it waits for and when that is looked at again: the leader\n" +
		"tells, or when there is none the map alone. Then each node that holds a copy is asked how far its log is; one that does\n" +
		"not answer is shown as such. Last comes each node as the place of one more copy: the rules that speak against it, or that\n" +
		"it is the one which would get it, and what the planner goes by.",
	example: "muster explain counter/30",
	output: `counter/30 is active in epoch 1 since entry 20 (activated)
n1 serves it in session 2
copy 91 on n1: ready, up
copy 92 on n2: ready, up
copy 93 on n3: ready, up

NODE  COPY  STATE  UP   ROLE     EPOCH  LAST  DURABLE  CONFIRMED  WAITS FOR
n1    91    ready  yes  primary  1      2     2        2          -
n2    92    ready  yes  replica  1      2     2        2          -
n3    93    ready  yes  replica  1      2     2        2          -

NODE  FOR ONE MORE COPY   IN ITS ZONE  COPIES  PRIMARIES
n1    leads it, has-copy  3            64      22
n2    has-copy            3            64      21
n3    has-copy            3            64      21`,
	args: 1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := readingFlags(flags)
		return func(ctx context.Context, args []string) error {
			id, err := shard.ParseID(args[0])
			if err != nil {
				return err
			}
			s, err := r.state(ctx, t)
			if err != nil {
				return err
			}
			if err := missing(s.View, id); err != nil {
				return err
			}
			report := r.explain(ctx, s, id)
			return t.show(report, func(w *columns) { report.table(w) })
		}
	},
}

type explanation struct {
	shardReport
	ToldBy     shard.NodeID      `json:"told_by"` // the leader whose word the facts are; "" when they are the map's alone
	Facts      []fact            `json:"facts"`
	Copies     []copyReport      `json:"copies"`
	Candidates []candidateReport `json:"candidates"`
}

type fact struct {
	Reason plan.Reason `json:"reason"` // why the shard waits; "" for a plain fact
	Text   string      `json:"text"`
}

// candidateReport is a node as the place of one more copy.
type candidateReport struct {
	Node      shard.NodeID  `json:"node"`
	Against   []plan.Reason `json:"against"` // the rules that rule it out
	Best      bool          `json:"best"`    // it would get the copy
	Leads     bool          `json:"leads"`
	Sharing   int           `json:"in_its_zone"` // copies of the shard
	Copies    int           `json:"copies"`      // of the type
	Primaries int           `json:"primaries"`
	verdict   string
}

type copyReport struct {
	Node      shard.NodeID `json:"node"`
	Copy      shard.CopyID `json:"copy"`
	State     string       `json:"state"`   // minted, ready or lost, as the map has it
	Learner   bool         `json:"learner"` // it is being made, and does not count yet
	Up        bool         `json:"up"`
	Answered  bool         `json:"answered"` // the rest is the node's own word
	Role      string       `json:"role"`
	Epoch     shard.Epoch  `json:"epoch"`
	Last      shard.LSN    `json:"last"`
	Durable   shard.LSN    `json:"durable"`
	Confirmed shard.LSN    `json:"confirmed"`
	Waiting   string       `json:"waiting"`
}

func (r *reading) explain(ctx context.Context, s client.State, id shard.ID) explanation {
	p := s.View.Placement(id)
	e := explanation{shardReport: reportShard(id, s.View.Types[id.Type].Spec, p), Copies: []copyReport{}, Candidates: []candidateReport{}}
	e.ToldBy, e.Facts = r.facts(ctx, s, id)
	for _, c := range plan.Candidates(s.View, id) {
		e.Candidates = append(e.Candidates, candidateReport{
			c.Node, list(c.Against), c.Best, c.Leads, c.Sharing, c.Copies, c.Primaries, c.Verdict(),
		})
	}
	if p == nil {
		return e
	}
	for _, c := range p.Copies {
		e.Copies = append(e.Copies, r.copyOf(ctx, s.View, id, c))
	}
	for _, l := range p.Learners {
		c := r.copyOf(ctx, s.View, id, l.Copy)
		c.Learner = true
		e.Copies = append(e.Copies, c)
	}
	slices.SortFunc(e.Copies, func(a, b copyReport) int {
		return cmp.Or(cmp.Compare(boolInt(b.Node == p.Node), boolInt(a.Node == p.Node)), cmp.Compare(a.Node, b.Node))
	})
	return e
}

// facts are what the leader tells of the shard, or when it cannot be asked what the map does.
func (r *reading) facts(ctx context.Context, s client.State, id shard.ID) (toldBy shard.NodeID, facts []fact) {
	if s.Leader != "" {
		timeout := nodePatience
		one := &remote{addrs: r.addrs, timeout: &timeout, files: r.files}
		err := one.with(ctx, func(ctx context.Context, c *client.Client) error {
			lines, leader, err := c.Explain(ctx, id)
			toldBy = leader
			for _, l := range lines {
				facts = append(facts, fact{plan.Reason(l.Reason), l.Text})
			}
			return err
		})
		if err == nil {
			return toldBy, facts
		}
	}
	for _, l := range plan.Explain(&fsm.State{View: s.View}, id) {
		facts = append(facts, fact{l.Reason, l.Text})
	}
	return "", append(facts, fact{Text: "the leader was not there to tell more"})
}

// nodePatience is how long one node may take to tell what it knows.
const nodePatience = time.Second

// copyOf asks the node of a copy about it.
func (r *reading) copyOf(ctx context.Context, v *shard.View, id shard.ID, c shard.Copy) copyReport {
	report := copyReport{Node: c.Node, Copy: c.ID, State: c.State.String(), Up: v.Up(c.Node)}
	addrs, timeout := []string{v.Members[c.Node].Addr}, nodePatience
	one := &remote{addrs: &addrs, timeout: &timeout, files: r.files}
	var s client.State
	err := one.with(ctx, func(ctx context.Context, c *client.Client) (err error) {
		s, err = c.Inspect(ctx)
		return err
	})
	if err != nil || s.Node != c.Node {
		return report
	}
	report.Answered = true
	for _, h := range s.Hosted {
		if h.Shard == id && h.Copy == c.ID {
			report.Role, report.Epoch, report.Last = h.Role, h.Epoch, h.Last
			report.Durable, report.Confirmed, report.Waiting = h.Durable, h.Confirmed, h.Waiting
		}
	}
	return report
}

func (e explanation) table(w *columns) {
	factLines(w, e.Facts)
	if len(e.Copies) > 0 {
		e.copiesTable(w)
	}
	fmt.Fprintln(w)
	w.row("NODE", "FOR ONE MORE COPY", "IN ITS ZONE", "COPIES", "PRIMARIES")
	for _, c := range e.Candidates {
		w.row(c.Node, c.verdict, c.Sharing, c.Copies, c.Primaries)
	}
}

func (e explanation) copiesTable(w *columns) {
	fmt.Fprintln(w)
	w.row("NODE", "COPY", "STATE", "UP", "ROLE", "EPOCH", "LAST", "DURABLE", "CONFIRMED", "WAITS FOR")
	for _, c := range e.Copies {
		state := c.State
		if c.Learner {
			state += " learner"
		}
		if !c.Answered {
			w.row(c.Node, c.Copy, state, yes(c.Up), "(no answer)", "", "", "", "", "")
			continue
		}
		w.row(c.Node, c.Copy, state, yes(c.Up), c.Role, c.Epoch, c.Last, c.Durable, c.Confirmed, c.Waiting)
	}
}

func factLines(w *columns, facts []fact) {
	for _, f := range facts {
		if f.Reason != "" {
			fmt.Fprintf(w, "%s [%s]\n", f.Text, f.Reason)
		} else {
			fmt.Fprintln(w, f.Text)
		}
	}
}
