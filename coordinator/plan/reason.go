package plan

import (
	"fmt"
	"strings"
	"time"

	"muster/shard"
)

// Reason says why a step is taken, or why nothing is done. It is stable: counters and explanations are keyed by it.
type Reason string

// Why a step is taken.
const (
	LeaseRanOut     Reason = "lease-ran-out"    // the session was not renewed for a lease
	OwnerGone       Reason = "owner-gone"       // the session that leads the shard is over
	Stalled         Reason = "stalled"          // the elected copy was not ready to serve in time
	OwnerAsked      Reason = "owner-asked"      // the primary cannot go on leading
	BestLog         Reason = "best-log"         // the most advanced log of those that answered
	LeastLoaded     Reason = "least-loaded"     // no copy to choose by: the member with the fewest shards
	Ready           Reason = "ready"            // the log is on the write quorum and the session before is over
	NewShard        Reason = "new-shard"        // it has no place yet
	FormingStranded Reason = "forming-stranded" // a node that should create a first copy is gone
)

// Why nothing is done.
const (
	AwaitAnswers  Reason = "await-answers"  // too few copies have promised the new epoch; live ones are being asked
	AwaitCopies   Reason = "await-copies"   // too few copies can answer at all: nodes must come back
	AwaitBest     Reason = "await-best"     // the most advanced log that answered is on a node that is down
	AwaitOthers   Reason = "await-others"   // enough have answered; the others get a moment to show a better log
	AwaitPrimary  Reason = "await-primary"  // the elected copy is bringing its log to the write quorum
	AwaitLease    Reason = "await-lease"    // the session that served before may still hold its lease
	AwaitMembers  Reason = "await-members"  // too few members that host the type are up
	AwaitVoters   Reason = "await-voters"   // enough members are up, but a voter may join within moments
	AwaitCreation Reason = "await-creation" // nodes are creating the first copies
	AwaitProposal Reason = "await-proposal" // a command is proposed and not applied yet
)

// Note is why, for one session or shard.
type Note struct {
	Reason  Reason
	Shard   shard.ID
	Epoch   shard.Epoch
	Session shard.SessionID
	Node    shard.NodeID
	Nodes   []shard.NodeID // where new copies go
	Copy    shard.CopyID
	Last    shard.Position // of the log that was chosen
	Waiting []shard.CopyID // who is awaited
	Have    int            // of Want
	Want    int
	Wait    time.Duration // until this is looked at again, when that is known
}

// String is a line for people and scripts: what is not set is left out.
func (n Note) String() string {
	var b strings.Builder
	if n.Shard.Type != "" {
		fmt.Fprintf(&b, "%s epoch %d: ", n.Shard, n.Epoch)
	}
	b.WriteString(string(n.Reason))
	if n.Session != 0 {
		fmt.Fprintf(&b, " session=%d", n.Session)
	}
	if n.Node != "" {
		fmt.Fprintf(&b, " node=%s", n.Node)
	}
	if len(n.Nodes) > 0 {
		fmt.Fprintf(&b, " nodes=%v", n.Nodes)
	}
	if n.Copy != 0 {
		fmt.Fprintf(&b, " copy=%d", n.Copy)
	}
	if n.Last.LSN != 0 {
		fmt.Fprintf(&b, " log=%s", n.Last)
	}
	if n.Want != 0 {
		fmt.Fprintf(&b, " have=%d/%d", n.Have, n.Want)
	}
	if len(n.Waiting) > 0 {
		fmt.Fprintf(&b, " waiting=%v", n.Waiting)
	}
	if n.Wait > 0 {
		fmt.Fprintf(&b, " for=%s", n.Wait)
	}
	return b.String()
}
