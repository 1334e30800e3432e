package client

import (
	"context"
	"time"

	"muster/shard"
	"muster/transport/wire"
)

// Recover takes the next step towards the shard's going on as the evidence says, whatever confirmed records are lost: with the chosen copy
// alone, or where none can be reached with nothing at all. Repeat it with the same evidence until its Stage is "done"; "quiet" says that the process which
// served last may still confirm. The notes say what it waits for.
//
// It is refused with CodeConflict while the shard needs no such thing, and when something else would go on by now or the shard is in a later epoch than the
// evidence speaks of, for another reason than this order: what was accepted then is not what would be done, so it takes a look at new Evidence.
// Evidence with neither a chosen copy nor nodes to begin on accepts nothing: then it says how far the shard is, or is refused.
func (c *Client) Recover(ctx context.Context, id shard.ID, accepted Evidence) (Done, error) {
	req := ofShard(wire.Order_ORDER_RECOVER, id, "")
	req.On, req.Epoch, req.Copy = true, uint64(accepted.Epoch), uint64(accepted.Chosen)
	req.DryRun = accepted.Chosen == 0 && len(accepted.Anew) == 0 // it had a Reason: nothing was offered, and so nothing accepted
	return c.administer(ctx, req)
}

// Discard gives up a copy that was kept aside when its shard went on without it. Its node removes the data.
func (c *Client) Discard(ctx context.Context, id shard.ID, copy shard.CopyID) (Done, error) {
	req := ofShard(wire.Order_ORDER_DISCARD, id, "")
	req.Copy = uint64(copy)
	return c.administer(ctx, req)
}

// Degrade lets the shard's primary confirm with as few copies as the write quorum says while others are away, or with 0 takes
// that back. It is refused while nothing is missing, and over when enough copies have joined.
func (c *Client) Degrade(ctx context.Context, id shard.ID, quorum int) (Done, error) {
	req := ofShard(wire.Order_ORDER_DEGRADE, id, "")
	req.Quorum = uint32(max(0, quorum))
	return c.administer(ctx, req)
}

// Evidence is what the leader knows of a shard that has lost too many copies to recover by itself.
type Evidence struct {
	Epoch  shard.Epoch
	Status string
	Copies []Witness

	Chosen shard.CopyID   // the copy that would go on alone, 0 for none
	Anew   []shard.NodeID // no copy can be reached: on these nodes the shard would begin with nothing
	Base   shard.Position // where its log ends
	Known  shard.LSN      // up to here everything was confirmed
	Lost   shard.LSN      // so many confirmed records, at least, are not in that log
	Whole  bool           // nothing confirmed is missing

	Quiet  time.Duration // the process that served last may confirm for so long
	Reason string        // why nothing can be done, or not yet; "" for nothing
	Text   string        // the same in words
}

// Witness is a copy in C, or a learner.
type Witness struct {
	Copy      shard.Copy
	State     string
	Learner   bool
	Up        bool
	Away      time.Duration // since its node is down, as the leader saw it
	Answered  bool          // it has promised the present epoch; the rest is its own word
	Last      shard.Position
	Confirmed shard.LSN
}

// Evidence asks the leader what it knows of a shard that does not recover.
func (c *Client) Evidence(ctx context.Context, id shard.ID) (Evidence, error) {
	reply, err := c.consult(ctx, &wire.ConsultRequest{
		Question: wire.Question_QUESTION_EVIDENCE, Type: string(id.Type), Shard: uint32(id.Number),
	})
	if err != nil {
		return Evidence{}, err
	}
	r := reply.Evidence
	e := Evidence{
		Epoch: shard.Epoch(r.GetEpoch()), Status: r.GetStatus(), Chosen: shard.CopyID(r.GetChosen()),
		Base:  shard.Position{Epoch: shard.Epoch(r.GetBaseEpoch()), LSN: shard.LSN(r.GetBaseLsn())},
		Known: shard.LSN(r.GetKnown()), Lost: shard.LSN(r.GetLost()), Whole: r.GetWhole(),
		Quiet: time.Duration(r.GetQuietMicros()) * time.Microsecond, Reason: r.GetReason(), Text: r.GetText(),
	}
	for _, node := range r.GetAnew() {
		e.Anew = append(e.Anew, shard.NodeID(node))
	}
	for _, w := range r.GetWitnesses() {
		e.Copies = append(e.Copies, Witness{
			Copy:  shard.Copy{ID: shard.CopyID(w.Copy), Node: shard.NodeID(w.Node), Directory: shard.DirectoryID(w.Directory)},
			State: w.State, Learner: w.Learner, Up: w.Up, Away: time.Duration(w.AwayMicros) * time.Microsecond, Answered: w.Answered,
			Last: shard.Position{Epoch: shard.Epoch(w.LastEpoch), LSN: shard.LSN(w.LastLsn)}, Confirmed: shard.LSN(w.Confirmed),
		})
	}
	return e, nil
}
