package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"muster/client"
	"muster/shard"
)

var recoverVerb = verb{
	use:   "recover TYPE/SHARD|--all [--accept-data-loss]",
	short: "go on with one copy when too many are gone",
	long: "A shard that lost more copies than min_acks waits, for what it confirmed may be on those that are missing. This verb is for\n" +
		"when they will not come back. Without the flag it changes nothing: it shows the evidence and exits with code 4. For each\n" +
		"copy that is whether it can be reached, since when its node is away, and how far its log goes; then which copy would go\n" +
		"on, and what is known of the loss. What only the missing copies hold nobody can count: it is unknown, and at least what\n" +
		"is shown. Where nothing is lost, because all that was confirmed is there and only too few copies to write to are, it says\n" +
		"so.\n" +
		"With --accept-data-loss the most advanced copy that can be reached goes on alone, with a write quorum of one until others\n" +
		"join; the group makes new copies by itself. When no copy can be reached it takes --begin-empty as well: the shard begins\n" +
		"anew with nothing, on new copies; all that it held is lost, and explain says so for good. What it goes on without is lost,\n" +
		"and kept aside whole should it come back: see aside. It is refused while the shard is served or recovers by itself, and\n" +
		"waits while the process that served last may still confirm where the leader cannot see it: a lease and a minute, unless\n" +
		"that is known to be gone. After Ctrl-C the same command goes on.\n" +
		"What goes on is what the evidence says when the command begins, and with --copy only that copy. If it would be another in\n" +
		"the end, or nothing, the command stops and changes nothing more. When the copy that goes on is gone before it serves, the\n" +
		"shard waits for it; to do without that one too the verb is given again, and shows first what would be left.\n" +
		"--all is for every shard that waits so: the evidence of each in a line, and with --accept-data-loss one word for all of\n" +
		"them. A shard that would begin with nothing although a copy may still be on the disk of a node that is away has to be\n" +
		"named by itself, whatever the flags.",
	example: "muster recover counter/30",
	output:  `muster: recover: conflict (counter/30, epoch 1): n1 serves it: nothing is to be recovered`,
	most:    1,
	body: func(t *terminal, flags *pflag.FlagSet) func(context.Context, []string) error {
		r := remoteFlags(flags, 2*time.Minute)
		accept := flags.Bool("accept-data-loss", false, "do it, whatever the missing copies hold")
		only := flags.Uint64("copy", 0, "do it only if this copy goes on")
		empty := flags.Bool("begin-empty", false, "do it also if no copy can be reached and all is lost")
		all := flags.Bool("all", false, "every shard that waits for copies it cannot do without")
		return func(ctx context.Context, args []string) error {
			if *all == (len(args) == 1) {
				return misusef("recover what? give either TYPE/SHARD or --all")
			}
			if (*only != 0 || *empty) && !*accept || *only != 0 && (*all || *empty) {
				return misusef("--copy and --begin-empty say what --accept-data-loss accepts, one of them; --copy is for one shard")
			}
			word := acceptance{given: *accept, copy: shard.CopyID(*only), empty: *empty}
			if *all {
				return r.with(ctx, func(ctx context.Context, c *client.Client) error { return t.recoverAll(ctx, c, word) })
			}
			id, err := shard.ParseID(args[0])
			if err != nil {
				return err
			}
			return r.with(ctx, func(ctx context.Context, c *client.Client) error {
				e, err := c.Evidence(ctx, id)
				switch {
				case err != nil:
					return err
				case !word.given:
					return t.showEvidence(reportEvidence(id, e))
				}
				if refused := word.refuses(reportEvidence(id, e)); refused != nil {
					return refused
				}
				done, err := t.recover(ctx, c, id, e)
				return t.showHalted(done, err)
			})
		}
	},
}

// acceptance is what the operator accepts to lose.
type acceptance struct {
	given bool
	copy  shard.CopyID // only when this one goes on; 0 for any
	empty bool         // everything, if need be
}

// refuses returns why the word does not cover what would be done, nil when it does.
func (a acceptance) refuses(r evidenceReport) error {
	refused := &shard.Error{Code: shard.CodeConflict, Shard: r.id(), Epoch: r.Epoch}
	switch {
	case a.copy != 0 && r.Chosen != 0 && r.Chosen != a.copy:
		refused.Detail = fmt.Sprintf("nothing was changed: not copy %d would go on, but copy %d, from a log that ends at %s", a.copy, r.Chosen, r.Base)
	case len(r.Anew) > 0 && a.copy != 0:
		refused.Detail = fmt.Sprintf("nothing was changed: no copy can be reached, copy %d neither", a.copy)
	case len(r.Anew) > 0 && !a.empty:
		refused.Detail = "nothing was changed: no copy can be reached, all that it held would be lost: that takes --begin-empty"
	default:
		return nil
	}
	return refused
}

// showEvidence shows what is known and refuses.
func (t *terminal) showEvidence(r evidenceReport) error {
	if err := t.show(r, r.table); err != nil {
		return err
	}
	refused := &shard.Error{Code: shard.CodeConflict, Shard: r.id(), Epoch: r.Epoch, Detail: r.Refused}
	switch {
	case r.RefusedReason != "":
	case r.Chosen == 0:
		refused.Detail = "nothing was changed: --accept-data-loss --begin-empty begins it anew with nothing"
	default:
		refused.Detail = "nothing was changed: --accept-data-loss goes on with copy " + fmt.Sprint(r.Chosen)
	}
	return refused
}

// recover repeats the order until the shard is served. What it is waiting for is said whenever that changes.
func (t *terminal) recover(ctx context.Context, c *client.Client, id shard.ID, e client.Evidence) (client.Done, error) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	said, before, waits := "", "", "it goes from epoch to epoch"
	for {
		done, err := c.Recover(ctx, id, e)
		switch {
		case shard.CodeOf(err) == shard.CodeConflict:
			e, err = sameLater(ctx, c, id, e, err)
		case err == nil && len(done.Notes) > 0:
			waits = done.Notes[0]
		}
		before = cmp.Or(before, done.Before)
		done.Before = before
		if err != nil || done.Stage == "done" {
			return done, err
		}
		about := waits
		if done.Stage == stageQuiet {
			about = stageQuiet // the time that is left is another each time
		}
		if said != about {
			said = about
			t.note("%s: %s", id, waits)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return done, lateRecovery(ctx, id, done, waits)
		}
	}
}

func lateRecovery(ctx context.Context, id shard.ID, done client.Done, waits string) error {
	switch {
	case done.Stage != stageQuiet:
		return halted(ctx, "shard %s is not served yet: %s; the group goes on with it, and the same command waits for it", id, waits)
	case errors.Is(ctx.Err(), context.Canceled):
		return interrupted("nothing was changed: " + waits)
	}
	return &shard.Error{Code: shard.CodeTimeout, Shard: id, Detail: "nothing was changed yet: " + waits + "; give the same command more --timeout"}
}

// stageQuiet is that of an order which waits until the process that served last can confirm nothing any more.
const stageQuiet = "quiet"

// sameLater returns the evidence of a later epoch when the same copy would go on in it as was accepted, with as much. Otherwise the refusal
// of the order stands, for what was accepted is not what would be done.
func sameLater(ctx context.Context, c *client.Client, id shard.ID, accepted client.Evidence, refused error) (client.Evidence, error) {
	later, err := c.Evidence(ctx, id)
	switch {
	case err != nil:
		return accepted, err
	case later.Epoch > accepted.Epoch && later.Reason == "" && later.Chosen != 0 && later.Chosen == accepted.Chosen && later.Base.Compare(accepted.Base) >= 0:
		return later, nil
	default:
		return accepted, refused
	}
}

type evidenceReport struct {
	Type          shard.TypeName  `json:"type"`
	Shard         shard.Number    `json:"shard"`
	Epoch         shard.Epoch     `json:"epoch"`
	Status        string          `json:"status"`
	Copies        []witnessReport `json:"copies"`
	Chosen        shard.CopyID    `json:"chosen"` // 0 when no copy can be reached
	Anew          []shard.NodeID  `json:"anew"`   // then: on these nodes it would begin with nothing
	Base          string          `json:"base"`   // LSN@epoch at which its log ends
	Confirmed     shard.LSN       `json:"confirmed"`
	LostAtLeast   shard.LSN       `json:"lost_at_least"`
	LostUnknown   bool            `json:"lost_unknown"` // there may be more, and nobody knows how many
	NothingLost   bool            `json:"nothing_lost"`
	QuietMS       int64           `json:"quiet_ms"` // for so long the process that served last may still confirm
	RefusedReason string          `json:"refused_reason"`
	Refused       string          `json:"refused"` // why it would be refused now; "" when it would not
}

type witnessReport struct {
	Node      shard.NodeID `json:"node"`
	Copy      shard.CopyID `json:"copy"`
	State     string       `json:"state"`
	Learner   bool         `json:"learner"` // it does not count and cannot be chosen
	Up        bool         `json:"up"`
	AwayMS    int64        `json:"away_ms"`  // as the leader saw it, 0 for up or unknown
	Answered  bool         `json:"answered"` // the rest is its own word
	Last      string       `json:"last"`     // LSN@epoch
	Confirmed shard.LSN    `json:"confirmed"`
}

func reportEvidence(id shard.ID, e client.Evidence) evidenceReport {
	r := evidenceReport{
		Type: id.Type, Shard: id.Number, Epoch: e.Epoch, Status: e.Status, Copies: []witnessReport{}, Chosen: e.Chosen, Anew: append([]shard.NodeID{}, e.Anew...), Base: e.Base.String(),
		Confirmed: e.Known, LostAtLeast: e.Lost, LostUnknown: (e.Chosen != 0 || len(e.Anew) > 0) && !e.Whole, NothingLost: e.Whole,
		QuietMS: e.Quiet.Milliseconds(), RefusedReason: e.Reason, Refused: e.Text,
	}
	for _, c := range e.Copies {
		r.Copies = append(r.Copies, witnessReport{
			Node: c.Copy.Node, Copy: c.Copy.ID, State: c.State, Learner: c.Learner, Up: c.Up, AwayMS: c.Away.Milliseconds(),
			Answered: c.Answered, Last: c.Last.String(), Confirmed: c.Confirmed,
		})
	}
	return r
}

func (r evidenceReport) table(w *columns) {
	if r.Epoch == 0 {
		fmt.Fprintf(w, "%s/%d is not in the map\n\n", r.Type, r.Shard)
	} else {
		fmt.Fprintf(w, "%s/%d is %s in epoch %d\n\n", r.Type, r.Shard, r.Status, r.Epoch)
	}
	w.row("NODE", "COPY", "STATE", "REACHED", "AWAY", "LOG ENDS", "CONFIRMED")
	for _, c := range r.Copies {
		last, confirmed, state, away, reached := "unknown", "unknown", c.State, "", yes(c.Answered)
		if r.served() && !c.Answered { // nobody asked
			last, confirmed, reached = "", "", ""
		}
		if c.Answered {
			last, confirmed = c.Last, fmt.Sprint(c.Confirmed)
		}
		if c.Learner {
			state = "learner"
		}
		if c.AwayMS > 0 {
			away = (time.Duration(c.AwayMS) * time.Millisecond).Round(time.Second).String()
		}
		w.row(c.Node, c.Copy, state, reached, away, last, confirmed)
	}
	fmt.Fprintln(w)
	for _, line := range r.verdict() {
		fmt.Fprintln(w, line)
	}
}

// served reports whether there is nothing to be recovered, and so nothing to be asked.
func (r evidenceReport) served() bool { return r.Status == shard.Active.String() }

// verdict says what the evidence comes to.
func (r evidenceReport) verdict() []string {
	if r.Chosen == 0 {
		return r.verdictAnew()
	}
	node := shard.NodeID("")
	for _, c := range r.Copies {
		if c.Copy == r.Chosen {
			node = c.Node
		}
	}
	lines := []string{fmt.Sprintf("copy %d on %s would go on, from a log that ends at %s", r.Chosen, node, r.Base)}
	switch {
	case r.NothingLost:
		lines = append(lines, "nothing that was confirmed is lost: it is all there, and only too few copies to write to are")
	case r.LostAtLeast > 0:
		lines = append(lines, fmt.Sprintf("records up to %d were confirmed: at least %d are lost, and unknown how many more", r.Confirmed, r.LostAtLeast))
	default:
		lines = append(lines, fmt.Sprintf("records up to %d were confirmed, and none of those is missing; unknown how many later ones only the missing copies hold", r.Confirmed))
	}
	return append(lines, r.awaited()...)
}

// verdictAnew is the verdict on a shard of which no copy can be reached.
func (r evidenceReport) verdictAnew() []string {
	if len(r.Anew) == 0 {
		return nil
	}
	lines := []string{
		fmt.Sprintf("no copy can be reached: it would begin with NOTHING, on new copies on %s", commas(r.Anew)),
		fmt.Sprintf("all that it held is lost: records up to %d were confirmed, and unknown how many later ones", r.Confirmed),
	}
	for _, c := range r.mayReturn() {
		lines = append(lines, fmt.Sprintf("copy %d may still be on the disk of %s: start that node instead, if it can be", c.Copy, c.Node))
	}
	return append(lines, r.awaited()...)
}

// mayReturn are the copies that nobody has reported as lost, while none can be reached.
func (r evidenceReport) mayReturn() []witnessReport {
	if r.Chosen != 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.Copies), func(c witnessReport) bool { return c.State != shard.CopyReady.String() || c.Up })
}

func (r evidenceReport) awaited() []string {
	if r.QuietMS == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the process that served last may still confirm for %s: it would be awaited", age(time.Duration(r.QuietMS)*time.Millisecond))}
}
