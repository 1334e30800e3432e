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
	AllRead         Reason = "all-read"         // every voter knows the rules of this version of entries
	LeaseRanOut     Reason = "lease-ran-out"    // the session was not renewed for a lease
	OwnerGone       Reason = "owner-gone"       // the session that leads the shard is over
	Stalled         Reason = "stalled"          // the elected copy was not ready to serve in time
	OwnerAsked      Reason = "owner-asked"      // the primary cannot go on leading
	BestLog         Reason = "best-log"         // the most advanced log of those that answered
	Lossy           Reason = "lossy"            // its type accepts loss, and copies were away for too long: it goes on without them
	LeastLoaded     Reason = "least-loaded"     // no copy to choose by: the member with the fewest shards
	Ready           Reason = "ready"            // the log is on the write quorum and the session before is over
	NewShard        Reason = "new-shard"        // it has no place yet
	FormingStranded Reason = "forming-stranded" // a node that should create a first copy is gone, or does not
)

// Why a copy or a primary moves.
const (
	CopyGone     Reason = "copy-gone"     // the data of a copy is lost
	NodeGone     Reason = "node-gone"     // the node of a copy is down for so long that it is given up
	CopyMissing  Reason = "copy-missing"  // C has fewer copies than the type wants
	NodeLeaves   Reason = "node-leaves"   // the primary's node is about to stop
	NodeDrains   Reason = "node-drains"   // an operator wants the node empty
	Pinned       Reason = "pinned"        // an operator wants the primary there
	ZoneSpread   Reason = "zone-spread"   // copies share a zone though another has none
	CopiesUneven Reason = "copies-uneven" // one node has more copies than another
	LeadsUneven  Reason = "leads-uneven"  // one node leads more shards than another
	LoadUneven   Reason = "load-uneven"   // what one node leads is asked more than what another leads
	ByHash       Reason = "by-hash"       // the shard's hash puts it there
	Underway     Reason = "underway"      // it was begun by an earlier leader
	CopyMoved    Reason = "copy-moved"    // the shard's only copy has a successor, which is to lead now
)

// why is a Reason in a list of planned moves.
type why uint8

const (
	copyGone why = iota
	nodeGone
	copyMissing
	nodeLeaves
	nodeDrains
	isPinned
	zoneSpread
	copiesUneven
	leadsUneven
	loadUneven
	byHash
	copyMoved
)

var reasonOf = [...]Reason{
	copyGone: CopyGone, nodeGone: NodeGone, copyMissing: CopyMissing, nodeLeaves: NodeLeaves, nodeDrains: NodeDrains,
	isPinned: Pinned, zoneSpread: ZoneSpread, copiesUneven: CopiesUneven, leadsUneven: LeadsUneven, loadUneven: LoadUneven,
	byHash: ByHash, copyMoved: CopyMoved,
}

// Why what was begun is given up.
const (
	CopyBack       Reason = "copy-back"       // the copy that was to be replaced is there again
	Surplus        Reason = "surplus"         // C has all its copies without the learner
	LeadsNow       Reason = "leads-now"       // the copy that was to be replaced leads the shard by now
	LearnerGone    Reason = "learner-gone"    // the learner's node is down
	LearnerStuck   Reason = "learner-stuck"   // the learner's node does not create it
	HandoffStalled Reason = "handoff-stalled" // the primary could not hand over in time
)

// Why nothing is done.
const (
	AwaitAnswers  Reason = "await-answers"   // too few copies have promised the new epoch; live ones are being asked
	AwaitCopies   Reason = "await-copies"    // too few copies can answer at all: nodes must come back
	AwaitBest     Reason = "await-best"      // the most advanced log that answered is on a node that is down
	AwaitOthers   Reason = "await-others"    // enough have answered; the others get a moment to show a better log
	AwaitPrimary  Reason = "await-primary"   // the elected copy is bringing its log to the write quorum
	AwaitLease    Reason = "await-lease"     // the session that served before may still hold its lease
	AwaitMembers  Reason = "await-members"   // too few members that host the type are up
	AsideFull     Reason = "aside-full"      // it would go on without copies that are away, and as many are kept aside as may be
	AwaitVoters   Reason = "await-voters"    // enough members are up, but a voter may join within moments
	AwaitCreation Reason = "await-creation"  // nodes are creating the first copies
	AwaitProposal Reason = "await-proposal"  // a command is proposed and not applied yet
	AwaitReturn   Reason = "await-return"    // a node is down and may come back: its copies are not replaced yet
	AwaitHeir     Reason = "await-heir"      // no other copy could lead now
	AwaitBudget   Reason = "await-budget"    // as much is under way as may be at once
	AwaitMove     Reason = "await-move"      // another move of the shard is under way
	AwaitCooldown Reason = "await-cooldown"  // the shard was moved a moment ago
	AwaitTarget   Reason = "await-target"    // the copy that is to lead is not in C yet, or the one that is to leave still leads
	NoRoom        Reason = "no-room"         // no member could take a copy: each is down, closed, or has one
	Degraded      Reason = "degraded"        // it writes to fewer copies than its type says
	KeptAside     Reason = "kept-aside"      // a copy may hold what the shard went on without
	Served        Reason = "served"          // it has a primary that serves
	NothingToLose Reason = "nothing-to-lose" // it has no copies
	PinBlocked    Reason = "pin-blocked"     // the node where an operator wants the primary cannot take it
)

// Why a node takes no copy.
const (
	HasCopy      Reason = "has-copy"     // it has one already
	NodeDown     Reason = "node-down"    // no live session
	NotEligible  Reason = "not-eligible" // it does not declare the type, or lacks its role
	NodeCordoned Reason = "cordoned"     // an operator wants nothing new on it
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
	Given   []shard.CopyID // what it goes on without
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
	if len(n.Given) > 0 {
		fmt.Fprintf(&b, " without=%v", n.Given)
	}
	if n.Wait > 0 {
		fmt.Fprintf(&b, " for=%s", n.Wait)
	}
	return b.String()
}
