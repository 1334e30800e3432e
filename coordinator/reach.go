package coordinator

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const reachAgain = 50 * time.Millisecond // whoever waits for a server looks so often whether that has still a purpose

// carrier is what Raft needs of a transport: its network transport, or one in memory.
type carrier interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// reach is Raft's transport, which sends entries and snapshots only to servers that answer heartbeats.
//
// Raft lets a server rest for longer after each call that failed, up to ten seconds, and does not notice when it is back: one that
// was away for half a minute had no new entries for that long, though it answered every heartbeat, and a second voter lost
// in the meantime stopped the group. Here such a call waits instead of failing, until the server answers a heartbeat.
// Heartbeats rest for half their timeout at most.
//
// Safe for concurrent use.
type reach struct {
	carrier
	wanted func(id raft.ServerID, term uint64) bool // this node still leads in the term, and the server has a seat
	heard  bell                                     // a heartbeat was answered
	mu     struct {
		sync.Mutex
		deaf map[raft.ServerID]uint64 // the term in which the newest heartbeat failed; none when it was answered
	}
}

func newReach(over carrier, wanted func(raft.ServerID, uint64) bool) *reach {
	r := &reach{carrier: over, wanted: wanted}
	r.mu.deaf = map[raft.ServerID]uint64{}
	return r
}

// AppendEntries implements raft.Transport.
func (r *reach) AppendEntries(id raft.ServerID, at raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(req) {
		err := r.carrier.AppendEntries(id, at, req, resp)
		r.note(id, req.Term, err == nil)
		return err
	}
	if err := r.await(id, req.Term); err != nil {
		return err
	}
	return r.carrier.AppendEntries(id, at, req, resp)
}

// InstallSnapshot implements raft.Transport.
func (r *reach) InstallSnapshot(
	id raft.ServerID, at raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader,
) error {
	if err := r.await(id, req.Term); err != nil {
		return err
	}
	return r.carrier.InstallSnapshot(id, at, req, resp, data)
}

// isHeartbeat tells a heartbeat from what carries entries, or asks where the server's log ends, as Raft itself does.
func isHeartbeat(req *raft.AppendEntriesRequest) bool {
	return req.PrevLogEntry == 0 && req.PrevLogTerm == 0 && len(req.Entries) == 0 && req.LeaderCommitIndex == 0
}

func (r *reach) note(id raft.ServerID, term uint64, answered bool) {
	r.mu.Lock()
	if answered {
		delete(r.mu.deaf, id)
	} else {
		r.mu.deaf[id] = term
	}
	r.mu.Unlock()
	if answered {
		r.heard.ring()
	}
}

func (r *reach) answers(id raft.ServerID, term uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	failed, deaf := r.mu.deaf[id]
	return !deaf || failed != term
}

// await waits until the server answers heartbeats of the term. It fails when nobody wants to reach it any more.
func (r *reach) await(id raft.ServerID, term uint64) error {
	for {
		heard := r.heard.listen()
		switch {
		case r.answers(id, term):
			return nil
		case !r.wanted(id, term):
			return fmt.Errorf("%s does not answer, and it needs nothing of term %d any more", id, term)
		}
		select {
		case <-heard:
		case <-time.After(reachAgain):
		}
	}
}
