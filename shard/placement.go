package shard

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Defaults and bounds of an entity type's options.
const (
	DefaultShards     = 64
	DefaultAckTimeout = 5 * time.Second
	MaxAckTimeout     = 10 * time.Minute
	MaxLossyAfter     = 24 * time.Hour
)

// Spec is the configuration of an entity type, fixed when its first host registers it; other options under a known name
// are refused. Comparable: two hosts agree exactly when their Specs are equal.
type Spec struct {
	Name       TypeName      `cbor:"1,keyasint"`
	Shards     uint32        `cbor:"2,keyasint"`
	Replicas   int           `cbor:"3,keyasint"` // copies beside the primary
	MinAcks    int           `cbor:"4,keyasint"` // of them that must hold an event before it is confirmed; never clamped
	AckTimeout time.Duration `cbor:"5,keyasint"`
	Volatile   bool          `cbor:"6,keyasint"` // neither journal nor copies
	Role       string        `cbor:"7,keyasint"` // only members of this role host it; "" means any
	Strategy   Strategy      `cbor:"8,keyasint,omitempty"`
	// LossyAfter lets a shard that waits for copies which are away go on without them, by itself, so long after the old primary's
	// lease; 0 for never. What only they hold is given up, confirmed or not. Only a type with MinAcks 0 may say so.
	LossyAfter time.Duration `cbor:"9,keyasint,omitempty"`
}

// Strategy decides where the shards of a type go, beyond what safety asks for.
type Strategy string

// The strategies. The zero value is the first.
const (
	LeastLoaded Strategy = ""           // nodes have alike many copies, primaries and, as far as that goes, load
	Rendezvous  Strategy = "rendezvous" // a hash of the names of shard and node decides
	External    Strategy = "external"   // shards stay where an operator's program moves them; the group only repairs
)

func (s Strategy) String() string {
	if s == LeastLoaded {
		return "least-loaded"
	}
	return string(s)
}

// Validate reports a strategy that this program does not know.
func (s Strategy) Validate() error {
	switch s {
	case LeastLoaded, Rendezvous, External:
		return nil
	}
	return Invalid("strategy %q is none of %s, %s and %s", clip(string(s)), LeastLoaded, Rendezvous, External)
}

// Validate reports the first option out of range.
func (s Spec) Validate() error {
	if err := ValidName(string(s.Name)); err != nil {
		return err
	}
	if s.Role != "" {
		if err := ValidName(s.Role); err != nil {
			return err
		}
	}
	if err := s.Strategy.Validate(); err != nil {
		return fmt.Errorf("type %s: %w", s.Name, err)
	}
	switch {
	case s.Shards < 1 || s.Shards > MaxShards:
		return Invalid("type %s: shards = %d, must be 1 to %d", s.Name, s.Shards, MaxShards)
	case s.Replicas < 0 || s.Replicas > MaxReplicas:
		return Invalid("type %s: replicas = %d, must be 0 to %d", s.Name, s.Replicas, MaxReplicas)
	case s.MinAcks < 0 || s.MinAcks > s.Replicas:
		return Invalid("type %s: min_acks = %d, must be 0 to replicas = %d", s.Name, s.MinAcks, s.Replicas)
	case s.AckTimeout <= 0 || s.AckTimeout > MaxAckTimeout:
		return Invalid("type %s: ack_timeout = %s, must be above 0 and at most %s", s.Name, s.AckTimeout, MaxAckTimeout)
	case s.Volatile && s.Replicas != 0:
		return Invalid("type %s: a volatile type has no copies, so replicas must be 0", s.Name)
	case s.LossyAfter < 0 || s.LossyAfter > MaxLossyAfter:
		return Invalid("type %s: lossy failover after %s, must be above 0 and at most %s", s.Name, s.LossyAfter, MaxLossyAfter)
	case s.LossyAfter > 0 && (s.MinAcks > 0 || s.Replicas == 0):
		return Invalid("type %s: lossy failover with replicas = %d and min_acks = %d: only copies that nobody waits for can be done without", s.Name, s.Replicas, s.MinAcks)
	}
	return nil
}

// WriteQuorum is the number of copies, the primary among them, that must hold an event durably before it is confirmed.
// A volatile type has none.
func (s Spec) WriteQuorum() int {
	if s.Volatile {
		return 0
	}
	return s.MinAcks + 1
}

// Autonomy is how long a primary of the type goes on confirming after its lease ran out, where one of another type does so for
// that long: a lossy type does not wait for a primary that is away, so that must have stopped by then.
func (s Spec) Autonomy(others time.Duration) time.Duration {
	if s.LossyAfter > 0 {
		return min(others, s.LossyAfter)
	}
	return others
}

// Voice is how long it really does: a hundredth less, for clocks that drift, because the leader waits for the whole of Autonomy.
func (s Spec) Voice(others time.Duration) time.Duration {
	whole := s.Autonomy(others)
	return whole - whole/100
}

// CopyState is how far the durable data of a copy can be trusted.
type CopyState uint8

const (
	CopyMinted CopyState = iota + 1 // named by Raft, not yet created on its directory
	CopyReady                       // created and reported by its directory
	CopyLost                        // its directory is gone, foreign or was set back: it stays in C and never answers
)

func (s CopyState) String() string { return name(s, "", "minted", "ready", "lost") }

// Copy is one directory's durable data of a shard. A lost one stays what it was: ids are not reused.
type Copy struct {
	ID        CopyID      `cbor:"1,keyasint"`
	Node      NodeID      `cbor:"2,keyasint"`
	Directory DirectoryID `cbor:"3,keyasint"`
	State     CopyState   `cbor:"4,keyasint"`
}

// Learner is a copy that receives the log and never counts: not for a confirmation, not for an election. It joins C when
// the primary has brought it up to date and proposed so.
type Learner struct {
	Copy     Copy   `cbor:"1,keyasint"`
	Replaces CopyID `cbor:"2,keyasint,omitempty"` // the member of C that is to leave when it joins; 0: C grows
}

// MaxLearners bounds the learners of one shard: a whole new C beside the old one.
const MaxLearners = MaxReplicas + 1

// Status is where a shard stands between owners.
type Status uint8

const (
	Forming      Status = iota + 1 // its first copies are being created
	Establishing                   // a primary is elected and brings its log to the write quorum
	Active                         // it serves; after a hand-over as soon as it has brought its log there
	Recovering                     // it has no primary; its copies are being sealed
)

func (s Status) String() string {
	return name(s, "", "forming", "establishing", "active", "recovering")
}

// Cause says why the lead of a shard or its C last changed.
type Cause string

const (
	CauseCreated        Cause = "created"         // first placement
	CauseReplaced       Cause = "re-placed"       // its first copies could not be created where they were
	CauseSessionExpired Cause = "session-expired" // the primary's lease ran out
	CauseRestarted      Cause = "restarted"       // the primary's node came back with a new session
	CauseLeft           Cause = "left"            // the primary's node said good-bye
	CauseStalled        Cause = "stalled"         // the elected copy did not activate in time
	CauseAsked          Cause = "asked"           // the primary itself asked for recovery
	CauseElected        Cause = "elected"         // the most advanced copy was chosen
	CauseActivated      Cause = "activated"       // the primary holds its log on the write quorum
	CauseReconfigured   Cause = "reconfigured"    // the primary changed C
	CauseHandedOver     Cause = "handed-over"     // the primary stepped down in favour of another copy
	CauseUnclean        Cause = "unclean"         // an operator accepted that data are lost: one copy goes on without the others
	CauseLossy          Cause = "lossy"           // its type accepts that: it goes on without copies that were away for too long
	CauseEmptied        Cause = "emptied"         // an operator accepted that all data are lost: it begins with nothing, on new copies
	CauseDegraded       Cause = "degraded"        // the primary changed C, and the write quorum is lower
	CauseRestored       Cause = "restored"        // the primary changed C, and the write quorum is higher

	// What changes beside the lead and C. The history of a shard shows these; its Placement keeps the Cause it had.
	CauseCopyLost       Cause = "copy-lost"       // the data of a copy or learner is gone
	CauseLearnerAdded   Cause = "learner-added"   // a copy is being made
	CauseLearnerDropped Cause = "learner-dropped" // it is not wanted any more
	CauseWished         Cause = "wished"          // another copy is to lead, or no longer
	CausePinned         Cause = "pinned"          // an operator named the preferred node, or no longer does
	CauseFloored        Cause = "floored"         // an operator allowed a lower write quorum, or no longer does
	CauseDiscarded      Cause = "discarded"       // an operator gave up a copy that was kept aside
)

// Placement is what Raft holds of one shard.
//
// A process may lead the shard only while the newest Placement it has seen names its own session, and only in exactly
// that epoch. Copies is the in-sync set C: it is what quorums are counted over, whether or not its members are alive.
// For a volatile type Copies is empty, Primary is 0 and only Node and Session say who owns the shard.
//
// Version rises with every change of C. While the shard is active it rises as well when a copy that a new C might hold goes
// away, lost or dropped: so a change proposed before that is over for certain, and its proposer sees it.
//
// Invariants: Epoch and Version never go back; while active the primary is in C and WriteQuorum ≤ |C|; copies, learners
// among them, are on distinct nodes, lost ones aside; only an active shard is wished elsewhere. See Check.
//
//lint:fields it is one row of the stored format, and each is needed to judge the next
type Placement struct {
	Shard       ID            `cbor:"1,keyasint"`
	Epoch       Epoch         `cbor:"2,keyasint"`
	Version     ConfigVersion `cbor:"3,keyasint"`
	Status      Status        `cbor:"4,keyasint"`
	Primary     CopyID        `cbor:"5,keyasint,omitempty"` // elected or serving; 0 while recovering or forming
	Node        NodeID        `cbor:"6,keyasint,omitempty"` // the primary's node
	Session     SessionID     `cbor:"7,keyasint,omitempty"` // the only session that may lead this epoch
	Copies      []Copy        `cbor:"8,keyasint,omitempty"`
	WriteQuorum int           `cbor:"9,keyasint"`
	Cause       Cause         `cbor:"10,keyasint"`
	Changed     Index         `cbor:"11,keyasint"` // the entry that made this version

	// What the last activated epoch was led by: its copy's single answer suffices for an election, and its session must
	// be over before the next epoch serves. Zero before the first activation.
	ActiveEpoch   Epoch     `cbor:"12,keyasint,omitempty"`
	ActivePrimary CopyID    `cbor:"13,keyasint,omitempty"`
	ActiveSession SessionID `cbor:"14,keyasint,omitempty"`
	ActiveNode    NodeID    `cbor:"15,keyasint,omitempty"`

	// The copy that was elected last without activating, or that asked for another primary: it is elected again only when the
	// others do not suffice.
	Stalled CopyID `cbor:"16,keyasint,omitempty"`

	Learners []Learner `cbor:"17,keyasint,omitempty"` // by id

	// The copy that the coordinator wishes to lead, and its node; of a volatile shard the node alone. The primary hands over
	// when it can. Any change of epoch is the end of a wish.
	HandTo   CopyID `cbor:"18,keyasint,omitempty"`
	HandNode NodeID `cbor:"19,keyasint,omitempty"`

	Pinned NodeID `cbor:"20,keyasint,omitempty"` // where an operator prefers the primary, "" for no preference

	// The member of C that is one too many for the type, 0 for none. It is the old copy of a shard that has no other while
	// another takes its place: the two are in C together so that the old one can hand over, and it leaves when it does not
	// lead any more.
	Retiring CopyID `cbor:"21,keyasint,omitempty"`

	Aside []Aside `cbor:"22,keyasint,omitempty"` // by id
	// The lowest write quorum that an operator allows while copies are away, 0 for none below the type's own. See Quorums.
	Floor int `cbor:"23,keyasint,omitempty"`
	// The newest epoch that began with nothing although the shard had been served before; 0 for none. See fsm.BeginAnew.
	Emptied Epoch `cbor:"24,keyasint,omitempty"`
}

// An Aside is a copy that the shard goes on without although it may hold records that nobody else has: an operator, or the
// type itself, chose another log. It is lost for good. Its data stay whole where they are and answer nobody, until an operator discards
// them.
type Aside struct {
	Copy  Copy     `cbor:"1,keyasint"`
	Epoch Epoch    `cbor:"2,keyasint"`          // the one that began without it
	Base  Position `cbor:"3,keyasint,omitzero"` // where the log ended that was chosen instead
}

// MaxAside bounds the copies of one shard that are kept aside. Beyond it the shard cannot go on without others until some are
// discarded.
const MaxAside = 4 * (MaxReplicas + 1)

// Quorums says which write quorum may follow another in the same epoch.
type Quorums struct {
	Now   int // in force
	Full  int // the type's own; Now is lower while the shard runs with fewer copies than that on purpose
	Floor int // what an operator allows, 0 for nothing below Now
}

// Quorums of the placement, of a type with that write quorum.
func (p *Placement) Quorums(full int) Quorums { return Quorums{p.WriteQuorum, full, p.Floor} }

// For returns the write quorum of a next C of so many copies, 0 when there may be no such C: the one in force, raised towards
// the type's own as far as the copies go; with fewer copies than the one in force, as many as they are, if that is allowed.
func (q Quorums) For(copies int) int {
	switch {
	case copies >= q.Now:
		return max(q.Now, min(q.Full, copies))
	case q.Floor > 0 && copies >= q.Floor:
		return copies
	}
	return 0
}

// RecoveryQuorum is the number of answers needed before a new primary is chosen: any write quorum meets it.
func (p *Placement) RecoveryQuorum() int {
	if p.WriteQuorum == 0 {
		return 0
	}
	return len(p.Copies) - p.WriteQuorum + 1
}

// Copy returns the member of C of that id.
func (p *Placement) Copy(id CopyID) (Copy, bool) {
	i := slices.IndexFunc(p.Copies, func(c Copy) bool { return c.ID == id })
	if i < 0 {
		return Copy{}, false
	}
	return p.Copies[i], true
}

// CopyOn returns the member of C that lives in the directory. A lost one is returned only when there is no other: its
// successor may be in the same directory.
func (p *Placement) CopyOn(directory DirectoryID) (found Copy, ok bool) {
	for _, c := range p.Copies {
		if c.Directory == directory && (!ok || c.State != CopyLost) {
			found, ok = c, true
		}
	}
	return found, ok
}

// Learner returns the learner of that id.
func (p *Placement) Learner(id CopyID) (Learner, bool) {
	i := slices.IndexFunc(p.Learners, func(l Learner) bool { return l.Copy.ID == id })
	if i < 0 {
		return Learner{}, false
	}
	return p.Learners[i], true
}

// LearnerOn returns the learner that lives in the directory. There is never a member of C beside it that is not lost.
func (p *Placement) LearnerOn(directory DirectoryID) (Learner, bool) {
	i := slices.IndexFunc(p.Learners, func(l Learner) bool { return l.Copy.Directory == directory })
	if i < 0 {
		return Learner{}, false
	}
	return p.Learners[i], true
}

// KeptAside returns the copy of that id which is kept aside.
func (p *Placement) KeptAside(id CopyID) (Aside, bool) {
	i := slices.IndexFunc(p.Aside, func(a Aside) bool { return a.Copy.ID == id })
	if i < 0 {
		return Aside{}, false
	}
	return p.Aside[i], true
}

// Wished reports whether the primary is asked to hand over.
func (p *Placement) Wished() bool { return p.HandNode != "" }

// Check reports a broken invariant.
func (p *Placement) Check() error {
	if err := p.checkCopies(); err != nil {
		return fmt.Errorf("shard %s: %w", p.Shard, err)
	}
	if err := cmp.Or(p.checkWish(), p.checkAside()); err != nil {
		return fmt.Errorf("shard %s: %w", p.Shard, err)
	}
	serving := p.Status == Active || p.Status == Establishing
	switch {
	case p.Status < Forming || p.Status > Recovering:
		return fmt.Errorf("shard %s: status %d", p.Shard, p.Status)
	case p.WriteQuorum > len(p.Copies):
		return fmt.Errorf("shard %s: write quorum %d of %d copies", p.Shard, p.WriteQuorum, len(p.Copies))
	case serving && (p.Session == 0 || p.Node == ""):
		return fmt.Errorf("shard %s: %s without a primary session", p.Shard, p.Status)
	case !serving && (p.Session != 0 || p.Primary != 0 || p.Node != ""):
		return fmt.Errorf("shard %s: %s with a primary", p.Shard, p.Status)
	case p.Status == Active && (p.ActiveEpoch != p.Epoch || p.ActiveSession != p.Session):
		return fmt.Errorf("shard %s: active epoch %d, recorded %d", p.Shard, p.Epoch, p.ActiveEpoch)
	}
	if serving && p.WriteQuorum > 0 {
		c, ok := p.Copy(p.Primary)
		if !ok || c.Node != p.Node || c.State != CopyReady {
			return fmt.Errorf("shard %s: primary copy %d is not a ready member of C on %s", p.Shard, p.Primary, p.Node)
		}
	}
	return nil
}

// checkCopies sees that no two copies would share a fate: lost ones aside, each is on a node of its own.
func (p *Placement) checkCopies() error {
	nodes := map[NodeID]bool{}
	for _, c := range p.Copies {
		if c.State == CopyLost {
			continue
		}
		if nodes[c.Node] {
			return fmt.Errorf("two copies on node %s", c.Node)
		}
		nodes[c.Node] = true
	}
	if len(p.Learners) > MaxLearners || len(p.Learners) > 0 && (p.Status == Forming || len(p.Copies) == 0) {
		return fmt.Errorf("%s with %d learners beside %d copies", p.Status, len(p.Learners), len(p.Copies))
	}
	for i, l := range p.Learners {
		_, member := p.Copy(l.Copy.ID)
		switch {
		case i > 0 && p.Learners[i-1].Copy.ID >= l.Copy.ID:
			return fmt.Errorf("learner %d after %d", l.Copy.ID, p.Learners[i-1].Copy.ID)
		case member || l.Copy.State == CopyLost:
			return fmt.Errorf("learner %d is %s, in C: %t", l.Copy.ID, l.Copy.State, member)
		case nodes[l.Copy.Node]:
			return fmt.Errorf("learner %d beside another copy on node %s", l.Copy.ID, l.Copy.Node)
		}
		nodes[l.Copy.Node] = true
	}
	return nil
}

// checkAside sees that what is kept aside does not count.
func (p *Placement) checkAside() error {
	if len(p.Aside) > MaxAside || p.Floor < 0 {
		return fmt.Errorf("%d copies kept aside, write quorum allowed down to %d", len(p.Aside), p.Floor)
	}
	for i, a := range p.Aside {
		_, member := p.Copy(a.Copy.ID)
		_, learns := p.Learner(a.Copy.ID)
		if i > 0 && p.Aside[i-1].Copy.ID >= a.Copy.ID || member || learns || a.Copy.State != CopyLost || a.Epoch > p.Epoch {
			return fmt.Errorf("copy %d (%s), kept aside since epoch %d, is in C or among the learners: %t", a.Copy.ID, a.Copy.State, a.Epoch, member || learns)
		}
	}
	return nil
}

// checkWish sees that a wish is one that the primary could fulfil.
func (p *Placement) checkWish() error {
	to, member := p.Copy(p.HandTo)
	switch {
	case !p.Wished() && p.HandTo == 0:
		return nil
	case p.Status != Active || p.HandNode == p.Node:
		return fmt.Errorf("%s on %s, it is wished to %q", p.Status, p.Node, p.HandNode)
	case len(p.Copies) > 0 && (!member || to.State != CopyReady || to.Node != p.HandNode):
		return fmt.Errorf("copy %d, wished to lead, is not a ready member of C on %q", p.HandTo, p.HandNode)
	case len(p.Copies) == 0 && p.HandTo != 0:
		return fmt.Errorf("copy %d, wished to lead, of none", p.HandTo)
	}
	return nil
}

func name[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) && names[v] != "" {
		return names[v]
	}
	return fmt.Sprintf("unknown(%d)", v)
}
