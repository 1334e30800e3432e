package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/shard"
)

var asideVerb = verb{
	use:   "aside [TYPE/SHARD] [--discard COPY]",
	short: "copies that were kept aside when a shard went on without them",
	long: "Lists the copies, of all shards or of one, that a shard went on without: after recover, or because its type has\n" +
		"LossyFailover. Whatever of their data still exists is\n" +
		"kept whole in the journal of their node, answers nobody, and does not count; the node may have another copy of the shard\n" +
		"beside it. To look at the data, stop the node, or copy its journal.db while it is stopped, and run\n" +
		"muster journal dump DIR --copy COPY. Records behind the position in BASE are what the shard went on without.\n" +
		"--discard gives one up for good: its node removes the data when it is up. A shard keeps at most 28.",
	example: "muster aside counter/30",
	output:  `nothing is kept aside`,
	most:    1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := readingFlags(flags)
		discard := flags.Uint64("discard", 0, "give the data of this copy up for good")
		return func(ctx context.Context, args []string) error {
			var only shard.ID
			if len(args) > 0 {
				id, err := shard.ParseID(args[0])
				if err != nil {
					return err
				}
				only = id
			}
			if flags.Changed("discard") {
				return t.discard(ctx, r, only, shard.CopyID(*discard))
			}
			s, err := r.state(ctx, t)
			if err != nil {
				return err
			}
			if only.Type != "" {
				if err := missing(s.View, only); err != nil {
					return err
				}
			}
			all := reportAside(s.View, only)
			return t.show(all, func(w *columns) {
				if len(all) == 0 {
					fmt.Fprintln(w, "nothing is kept aside")
					return
				}
				w.row("SHARD", "COPY", "NODE", "UP", "SINCE EPOCH", "BASE")
				for _, a := range all {
					w.row(shard.ID{Type: a.Type, Number: a.Shard}, a.Copy, a.Node, yes(a.Up), a.Epoch, a.Base)
				}
			})
		}
	},
}

func (t *terminal) discard(ctx context.Context, r *reading, id shard.ID, copy shard.CopyID) error {
	if id.Type == "" {
		return misusef("--discard: of which shard? give TYPE/SHARD")
	}
	if copy == 0 {
		return misusef("--discard 0: copies are counted from 1")
	}
	return r.with(ctx, func(ctx context.Context, c *client.Client) error {
		s, err := c.State(ctx)
		if err != nil {
			return err
		}
		if refused := unknownAside(s.View, id, copy); refused != nil {
			return refused
		}
		done, err := c.Discard(ctx, id, copy)
		if err != nil {
			return err
		}
		if done.Before == done.After {
			done.Notes = append(done.Notes, fmt.Sprintf("nothing was changed: copy %d was not kept aside, or is not any more", copy))
		}
		return t.showDone(done)
	})
}

// unknownAside refuses a copy that is none of the shard's. The order itself may be repeated, so it cannot tell that from one that was discarded.
func unknownAside(v *shard.View, id shard.ID, copy shard.CopyID) error {
	if err := missing(v, id); err != nil {
		return err
	}
	p := v.Placement(id)
	if p == nil {
		return shard.Errorf(shard.CodeConflict, "shard %s is not placed yet: it has no copy", id)
	}
	_, aside := p.KeptAside(copy)
	if _, member := p.Copy(copy); aside || member { // of a member the leader says so
		return nil
	}
	return &shard.Error{Code: shard.CodeNotFound, Shard: id, Epoch: p.Epoch, Detail: fmt.Sprintf("copy %d is not kept aside: nothing was discarded", copy)}
}

type asideReport struct {
	Type      shard.TypeName    `json:"type"`
	Shard     shard.Number      `json:"shard"`
	Copy      shard.CopyID      `json:"copy"`
	Node      shard.NodeID      `json:"node"`
	Directory shard.DirectoryID `json:"directory"`
	Up        bool              `json:"up"`    // that very directory is in use by a live process
	Epoch     shard.Epoch       `json:"epoch"` // the one that began without it
	Base      string            `json:"base"`  // LSN@epoch where the log ended that was chosen instead
}

func reportAside(v *shard.View, only shard.ID) []asideReport {
	all := []asideReport{}
	for _, name := range slices.Sorted(maps.Keys(v.Types)) {
		for _, p := range v.Types[name].Placements {
			if p == nil || only.Type != "" && p.Shard != only {
				continue
			}
			for _, a := range p.Aside {
				all = append(all, asideReport{
					Type: name, Shard: p.Shard.Number, Copy: a.Copy.ID, Node: a.Copy.Node, Directory: a.Copy.Directory,
					Up: v.Up(a.Copy.Node) && v.Members[a.Copy.Node].Directory == a.Copy.Directory, Epoch: a.Epoch, Base: a.Base.String(),
				})
			}
		}
	}
	return all
}
