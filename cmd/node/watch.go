package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/shard"
)

var watchVerb = verb{
	use:   "watch",
	short: "follow the map: every change as it happens",
	long: "Prints one line for each entry that changed the map, from the whole map on, until interrupted, until --timeout, or after\n" +
		"--count lines. With -o json each line is a document. When the node it follows goes away it goes on at another address.\n" +
		"A failure looks like \"57  n3 down; counter/2 recovering in epoch 2 (session-expired)\".",
	example: "muster watch --count 1",
	output:  `42  map of 3 members, 1 types, 64 shards; leader n1`,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := remoteFlags(flags, 0)
		count := flags.Int("count", 0, "stop after so many changes, 0 for never")
		flags.Lookup("timeout").Usage = "stop after so long, 0 for never"
		return func(ctx context.Context, _ []string) error {
			if *count < 0 || *r.timeout < 0 {
				return misusef("count and timeout must not be negative")
			}
			w := &watching{terminal: t, left: *count, ends: *r.timeout > 0}
			if !w.ends {
				*r.timeout = forever
			}
			ctx, stop := t.whileRead(ctx)
			defer stop()
			err := r.with(ctx, w.follow)
			if errors.Is(context.Cause(ctx), errUnread) {
				return errUnread
			}
			if ctx.Err() != nil && w.seen {
				return nil // interrupted, as watching ends
			}
			return err
		}
	},
}

// forever is longer than anyone watches.
const forever = 100 * 365 * 24 * time.Hour

// watching is one run of the verb.
type watching struct {
	*terminal
	left int  // changes to print, 0 for all
	ends bool // reaching the timeout is how it should end
	seen bool // at least the first map came
	last *shard.View
}

func (w *watching) follow(ctx context.Context, c *client.Client) error {
	for e, err := range c.Watch(ctx) {
		if err != nil {
			if w.seen && w.ends && ctx.Err() != nil {
				return nil
			}
			return err
		}
		if e.Delta == nil || !e.Delta.Reset && e.Delta.Empty() {
			continue
		}
		w.seen = true
		if err := w.print(e); err != nil {
			return err
		}
		if w.left--; w.left == 0 {
			return nil
		}
	}
	return nil
}

type change struct {
	Index   shard.Index    `json:"index"`
	Whole   bool           `json:"whole"` // the whole map, not a change
	Leader  shard.NodeID   `json:"leader"`
	Members []memberReport `json:"members"` // those that changed
	Shards  []shardReport  `json:"shards"`  // those that changed
	Text    string         `json:"text"`
}

func (w *watching) print(e client.Event) error {
	c := change{Index: e.Delta.Index, Whole: e.Delta.Reset, Leader: e.Leader, Members: []memberReport{}, Shards: []shardReport{}}
	touched := map[shard.NodeID]bool{}
	for _, m := range e.Delta.Members {
		touched[m.ID] = true
	}
	for id, m := range e.View.Members {
		touched[id] = touched[id] || w.last != nil && w.last.Up(id) != e.View.Up(m.ID)
	}
	for _, m := range reportMembers(client.State{View: e.View, Leader: e.Leader}) {
		if touched[m.ID] {
			c.Members = append(c.Members, m)
		}
	}
	for i := range e.Delta.Placements {
		p := &e.Delta.Placements[i]
		c.Shards = append(c.Shards, reportShard(p.Shard, e.View.Types[p.Shard.Type].Spec, p))
	}
	c.Text = c.words(e)
	w.last = e.View
	if w.json {
		return w.document(c)
	}
	_, err := fmt.Fprintf(w.out, "%d  %s\n", c.Index, c.Text)
	return err
}

// mostNamed is how many shards a line names before it only counts them.
const mostNamed = 4

func (c change) words(e client.Event) string {
	if c.Whole {
		return fmt.Sprintf("map of %d members, %d types, %d shards; leader %s",
			len(e.View.Members), len(e.View.Types), len(c.Shards), orNone(e.Leader))
	}
	var parts []string
	for _, m := range c.Members {
		parts = append(parts, fmt.Sprintf("%s %s", m.ID, m.Status))
	}
	for _, spec := range e.Delta.Types {
		parts = append(parts, fmt.Sprintf("type %s registered", spec.Name))
	}
	if e.Delta.Required != nil {
		parts = append(parts, fmt.Sprintf("required quorum %d", *e.Delta.Required))
	}
	for i, s := range c.Shards {
		if i == mostNamed {
			parts = append(parts, fmt.Sprintf("and %d more shards", len(c.Shards)-i))
			break
		}
		part := fmt.Sprintf("%s/%d %s in epoch %d (%s)", s.Type, s.Shard, s.Status, s.Epoch, s.Reason)
		if s.Primary != "" {
			part = fmt.Sprintf("%s/%d %s on %s in epoch %d (%s)", s.Type, s.Shard, s.Status, s.Primary, s.Epoch, s.Reason)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

func orNone(id shard.NodeID) string {
	if id == "" {
		return "none"
	}
	return string(id)
}
