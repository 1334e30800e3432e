package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"muster/client"
	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// recoverAtOnce is how many shards are asked about, or recovered, at a time. The leader proposes what comes together in one entry.
const recoverAtOnce = 32

// recoverAll shows the evidence of every shard that waits for an operator, and with the operator's word recovers those that it may.
func (t *terminal) recoverAll(ctx context.Context, c *client.Client, word acceptance) error {
	found, err := settledEvidence(ctx, c)
	if err != nil {
		return err
	}
	all := make([]evidenceReport, len(found))
	for i, f := range found {
		all[i] = f.report()
	}
	if !word.given {
		if err := t.show(all, func(w *columns) { evidenceTable(w, all) }); err != nil || len(all) == 0 {
			return err
		}
		return &shard.Error{Code: shard.CodeConflict, Detail: "nothing was changed: " + offer(all)}
	}
	for _, r := range all {
		for _, line := range r.verdict() {
			t.note("%s: %s", r.id(), line)
		}
	}
	results := make([]recoveredReport, len(all))
	err = parallel(len(all), func(i int) error {
		r := all[i]
		results[i] = recoveredReport{Type: r.Type, Shard: r.Shard, Refused: r.reluctance(word)}
		if results[i].Refused != "" {
			return &shard.Error{Code: shard.CodeConflict, Shard: r.id(), Epoch: r.Epoch, Detail: results[i].Refused}
		}
		done, err := t.recover(ctx, c, r.id(), found[i].evidence)
		results[i].Stage, results[i].Before, results[i].After = done.Stage, done.Before, done.After
		if err != nil {
			results[i].Refused = err.Error()
		}
		return err
	})
	return errors.Join(t.show(results, func(w *columns) { recoveredTable(w, results) }), err)
}

// parallel runs n steps, some at a time, and returns the error of the first of them that failed.
func parallel(n int, step func(i int) error) error {
	faults := make([]error, n)
	places := make(chan struct{}, recoverAtOnce)
	var wait sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		wait.Go(func() {
			faults[i] = step(i)
			<-places
		})
	}
	wait.Wait()
	return cmp.Or(faults...)
}

// known is what the leader knows of a shard.
type known struct {
	id       shard.ID
	evidence client.Evidence
}

func (k known) report() evidenceReport { return reportEvidence(k.id, k.evidence) }

// settledEvidence is evidenceOfAll, when the copies that are up have answered, or have had the time to.
func settledEvidence(ctx context.Context, c *client.Client) ([]known, error) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for began := time.Now(); ; {
		all, err := evidenceOfAll(ctx, c)
		asked := func(k known) bool { return k.evidence.Reason == string(plan.AwaitAnswers) }
		if err != nil || !slices.ContainsFunc(all, asked) || time.Since(began) > nodePatience {
			return all, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return all, ctx.Err()
		}
	}
}

// evidenceOfAll asks about every shard that has no primary and too few copies to get one that serves.
func evidenceOfAll(ctx context.Context, c *client.Client) ([]known, error) {
	s, err := c.State(ctx)
	if err != nil {
		return nil, err
	}
	ids := waitingShards(s.View)
	all := make([]known, len(ids))
	err = parallel(len(ids), func(i int) error {
		e, err := c.Evidence(ctx, ids[i])
		all[i] = known{ids[i], e}
		return err
	})
	return all, err
}

func waitingShards(v *shard.View) []shard.ID {
	var ids []shard.ID
	for _, name := range slices.Sorted(maps.Keys(v.Types)) {
		for _, p := range v.Types[name].Placements {
			if p == nil || p.WriteQuorum == 0 || p.Status != shard.Recovering && p.Status != shard.Establishing {
				continue
			}
			var up []shard.CopyID
			for _, one := range p.Copies {
				if one.State == shard.CopyReady && v.Up(one.Node) && v.Members[one.Node].Directory == one.Directory {
					up = append(up, one.ID)
				}
			}
			if !fsm.Sufficient(p, up) {
				ids = append(ids, p.Shard)
			}
		}
	}
	return ids
}

func (r evidenceReport) id() shard.ID { return shard.ID{Type: r.Type, Number: r.Shard} }

// reluctance is why the shard is not recovered together with others, "" when it is.
func (r evidenceReport) reluctance(word acceptance) string {
	switch {
	case r.Refused != "" || len(r.Anew) == 0:
		return r.Refused
	case len(r.mayReturn()) > 0:
		return "a copy may still be on the disk of a node that is away: name the shard to begin it anew with nothing"
	case !word.empty:
		return "no copy can be reached: it takes --begin-empty to begin it anew with nothing"
	}
	return ""
}

// offer says what each word would do about these shards.
func offer(all []evidenceReport) string {
	covered := func(word acceptance) (n int) {
		for _, r := range all {
			if r.reluctance(word) == "" {
				n++
			}
		}
		return n
	}
	loss, empty := covered(acceptance{}), covered(acceptance{empty: true})
	said := fmt.Sprintf("--accept-data-loss recovers %d of these %d shards", loss, len(all))
	if empty > loss {
		said += fmt.Sprintf(", with --begin-empty %d", empty)
	}
	return said
}

func evidenceTable(w *columns, all []evidenceReport) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no shard waits for copies that it cannot do without")
		return
	}
	w.row("SHARD", "EPOCH", "REACHED", "WOULD GO ON WITH", "LOG ENDS", "CONFIRMED", "LOST", "NOT YET")
	for _, r := range all {
		reached, with, ends := 0, "", ""
		for _, c := range r.Copies {
			if c.Answered {
				reached++
			}
			if c.Copy == r.Chosen {
				with, ends = fmt.Sprintf("copy %d on %s", c.Copy, c.Node), r.Base
			}
		}
		if len(r.Anew) > 0 {
			with = "nothing"
		}
		w.row(r.id(), r.Epoch, fmt.Sprintf("%d of %d", reached, len(r.Copies)), with, ends, r.Confirmed, r.loss(), r.reluctance(acceptance{empty: true}))
	}
}

// loss says in a few words what is known of it.
func (r evidenceReport) loss() string {
	switch {
	case r.NothingLost:
		return "nothing"
	case len(r.Anew) > 0:
		return "everything"
	case r.Chosen == 0:
		return ""
	case r.LostAtLeast > 0:
		return fmt.Sprintf("at least %d", r.LostAtLeast)
	}
	return "unknown"
}

type recoveredReport struct {
	Type    shard.TypeName `json:"type"`
	Shard   shard.Number   `json:"shard"`
	Stage   string         `json:"stage"`
	Before  string         `json:"before"`
	After   string         `json:"after"`
	Refused string         `json:"refused"` // why it was not recovered; "" when it was
}

func recoveredTable(w *columns, all []recoveredReport) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no shard waits for copies that it cannot do without")
		return
	}
	w.row("SHARD", "STAGE", "AFTER", "REFUSED")
	for _, r := range all {
		w.row(shard.ID{Type: r.Type, Number: r.Shard}, r.Stage, r.After, r.Refused)
	}
}
