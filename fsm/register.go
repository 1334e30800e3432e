package fsm

import (
	"cmp"
	"fmt"
	"slices"

	"muster/shard"
)

const maxRoles = 16 // roles one node may declare

// Register opens a session for a node's process, and ends the older one of the same directory.
//
// The process holds the lock of its data directory. So when it says Fenced, names the machine that the older session
// was opened on, and has found that session in the directory, the process of that session is gone and need not be waited for. Any
// other claim on a node id whose session is live is refused with CodeInUse: it may come from a process that is gone itself, and was
// long under way. Otherwise the directory is taken when that session is over; but then its process is not known to be gone,
// see State.Succeeded.
//
// The same Nonce again gets the same session, and may declare more types. Its lease counts from the first time that a
// Register with the Nonce was sent, not from the repetition. A Nonce whose session has ended is refused with
// CodeSessionEnded: the process goes on under a new one.
//
// A directory whose node was removed from the group is refused with CodeRemoved for ever. An address at which another member is up is refused
// with CodeInUse: nobody would find the node there.
//
// What the directory cannot hold any more becomes lost in the same entry: every copy on the node in another directory, and
// every copy of this directory when LastSession shows that it was set back to an older state. A directory must store its
// session durably before it renews it for the first time: that renewal is how the group knows which number it must find. A
// Register that was long under way shows the same; so it is refused with CodeSetBack first, and the Verdict names the session
// that was to be found, 0 when none is. Only a process that lives can name it in turn.
type Register struct {
	Node      shard.NodeID      `cbor:"1,keyasint"`
	Directory shard.DirectoryID `cbor:"2,keyasint"`
	Machine   shard.MachineID   `cbor:"3,keyasint"`
	Addr      string            `cbor:"4,keyasint"`
	Zone      string            `cbor:"5,keyasint,omitempty"`
	Roles     []string          `cbor:"6,keyasint,omitempty"`
	Hosts     []shard.Spec      `cbor:"7,keyasint,omitempty"` // the types the node is ready to own shards of
	Nonce     string            `cbor:"8,keyasint"`           // names this process's session before it has a number
	// LastSession is the newest session the directory has stored; 0 for a fresh directory.
	LastSession shard.SessionID `cbor:"9,keyasint,omitempty"`
	Voter       bool            `cbor:"10,keyasint,omitempty"`
	Fenced      bool            `cbor:"11,keyasint,omitempty"`
	// SetBack confirms that the directory lacks this session, which a refusal has named; 0 for nothing.
	SetBack shard.SessionID `cbor:"12,keyasint,omitempty"`
	// Lengths are those of the session, for its life. None is said to a group whose version is below LengthsSince: a renewal says them later.
	Lengths Lengths `cbor:"13,keyasint,omitzero"`
}

// Validate implements Command.
func (c *Register) Validate() *shard.Error {
	if err := c.Node.Validate(); err != nil {
		return shard.As(err)
	}
	if fault := cmp.Or(validToken("directory id", string(c.Directory)), validToken("machine id", string(c.Machine)),
		validToken("nonce", c.Nonce), validAddr(c.Addr)); fault != nil {
		return fault
	}
	if fault := c.Lengths.Validate(); c.Lengths.said() && fault != nil {
		return fault
	}
	if c.SetBack != 0 && c.SetBack <= c.LastSession {
		return shard.Errorf(shard.CodeInvalid, "node %s lacks session %d and has stored %d", c.Node, c.SetBack, c.LastSession)
	}
	if len(c.Roles) > maxRoles || len(c.Hosts) > MaxTypes {
		return shard.Errorf(shard.CodeInvalid, "node %s: %d roles and %d types, at most %d and %d", c.Node, len(c.Roles), len(c.Hosts), maxRoles, MaxTypes)
	}
	names := c.Roles
	if c.Zone != "" {
		names = append(slices.Clone(names), c.Zone)
	}
	for _, name := range names {
		if err := shard.ValidName(name); err != nil {
			return shard.As(err)
		}
	}
	seen := map[shard.TypeName]bool{}
	for _, spec := range c.Hosts {
		if err := spec.Validate(); err != nil {
			return shard.As(err)
		}
		if seen[spec.Name] {
			return shard.Errorf(shard.CodeInvalid, "node %s declares type %s twice", c.Node, spec.Name)
		}
		seen[spec.Name] = true
	}
	return nil
}

// needs implements younger.
func (c *Register) needs() byte {
	switch {
	case c.Lengths.said():
		return LengthsSince
	case c.SetBack != 0:
		return confirmSince
	}
	version := byte(1)
	for _, s := range c.Hosts {
		switch {
		case s.LossyAfter != 0:
			return 3
		case s.Strategy != shard.LeastLoaded:
			version = 2
		}
	}
	return version
}

func (c *Register) apply(d *draft) Verdict {
	m, known := d.member(c.Node)
	if l := d.life(m.Session); known && l != nil && l.Nonce == c.Nonce && m.Directory == c.Directory {
		return c.again(d, m)
	}
	if fault := c.admit(d, m, known); fault != nil {
		return refused(fault)
	}
	if fault := c.newTypes(d); fault != nil {
		return refused(fault)
	}
	forgotten := c.forgotten(d, m)
	switch {
	case d.next.version < confirmSince || forgotten == c.SetBack:
	case forgotten == 0: // a process of the directory has confirmed it in between
		return refusef(shard.CodeSetBack, "the data directory of node %s has stored all that it should", c.Node)
	default:
		return Verdict{Session: forgotten, Fault: shard.Errorf(shard.CodeSetBack,
			"the data directory of node %s has stored session %d and should have %d", c.Node, c.LastSession, forgotten)}
	}
	setBack := forgotten != 0
	if _, live := d.session(m.Session); live {
		d.endSession(m.Session, shard.CauseRestarted)
	}
	if known && (setBack || m.Directory != c.Directory) {
		d.loseCopies(func(copy shard.Copy) bool {
			return copy.Node == c.Node && (setBack || copy.Directory != c.Directory)
		})
	}
	id := c.openSession(d, m, setBack)
	d.putMember(c.member(d, m, id))
	d.register(c.Hosts)
	return Verdict{Session: id}
}

// again answers a Register that was applied before.
func (c *Register) again(d *draft, m shard.Member) Verdict {
	if _, live := d.session(m.Session); !live {
		return refusef(shard.CodeSessionEnded, "session %d of node %s has ended", m.Session, c.Node)
	}
	if fault := c.newTypes(d); fault != nil {
		return refused(fault)
	}
	d.life(m.Session).say(c.Lengths)
	next := c.member(d, m, m.Session)
	next.Leaving = m.Leaving
	d.updateMember(m, next)
	d.register(c.Hosts)
	return Verdict{Session: m.Session, Again: true}
}

// admit decides whether the process may take the node id.
func (c *Register) admit(d *draft, m shard.Member, known bool) *shard.Error {
	if !known && d.memberCount() >= MaxMembers {
		return shard.Errorf(shard.CodeOverloaded, "the group has %d members, the most there can be", MaxMembers)
	}
	if fault := d.barred(c.Directory); fault != nil {
		return fault
	}
	if other := d.memberWith(c.Directory); other != "" && other != c.Node {
		return &shard.Error{Code: shard.CodeInUse, Node: other, Detail: "the data directory belongs to node " + string(other)}
	}
	if other := d.upAt(c.Addr); other != "" && other != c.Node && d.next.version >= addrSince {
		return &shard.Error{Code: shard.CodeInUse, Node: other, Addr: c.Addr, Detail: fmt.Sprintf("address %s is that of node %s, which is up", c.Addr, other)}
	}
	if c.LastSession > d.lastSession() {
		return shard.Errorf(shard.CodeConflict, "node %s knows session %d, the group's newest is %d: the group was set back", c.Node, c.LastSession, d.lastSession())
	}
	if _, live := d.session(m.Session); !live {
		return nil
	}
	why := ""
	switch {
	case m.Directory != c.Directory:
		why = "with another data directory"
	case c.forgotten(d, m) != 0:
		// A copy of an older Register that was long under way looks just like a directory that was set back. Only the
		// latter comes again when the session has run out.
		why = "by a later process of the same data directory"
	case !c.succeeds(d, m):
		why = "and this process cannot prove that the other one is gone"
	default:
		return nil
	}
	return &shard.Error{Code: shard.CodeInUse, Node: m.ID, Addr: m.Addr,
		Detail: fmt.Sprintf("id %s is in use at %s by session %d, %s", m.ID, m.Addr, m.Session, why)}
}

// succeeds reports whether the process proves that the one of the member's session is gone: it found that session in the directory
// whose lock it holds. One that did not, and holds the lock as well, may have been there before.
func (c *Register) succeeds(d *draft, m shard.Member) bool {
	found := c.LastSession >= m.Session || d.next.version < confirmSince
	return c.Fenced && found && m.Machine == c.Machine && m.Directory == c.Directory
}

// forgotten returns the newest session that the directory is known to have stored and lacks, 0 when it lacks none.
func (c *Register) forgotten(d *draft, m shard.Member) shard.SessionID {
	if l := d.life(m.Session); l != nil && m.Directory == c.Directory && c.LastSession < l.Confirmed {
		return l.Confirmed
	}
	return 0
}

// openSession mints the session and gives it the life that replaces the one before.
func (c *Register) openSession(d *draft, m shard.Member, setBack bool) shard.SessionID {
	id := d.lastSession() + 1
	next := life{Session: id, Node: c.Node, Nonce: c.Nonce, Confirmed: c.LastSession, Lengths: c.Lengths}
	if l := d.life(m.Session); l != nil {
		if m.Directory == c.Directory && !setBack {
			next.Confirmed = max(next.Confirmed, l.Confirmed)
		}
		switch {
		case m.Directory != c.Directory:
		case c.succeeds(d, m):
			next.Succeeded = m.Session
		default:
			next.Succeeded = l.Succeeded
		}
		d.bury(m.Session)
	}
	d.takeLives()
	d.next.lives = append(d.next.lives, next)
	d.delta.LastSession = id
	d.delta.Sessions = append(d.delta.Sessions, shard.Session{ID: id, Node: c.Node, Directory: c.Directory})
	d.sessions[id] = true
	return id
}

// member returns the member after the Register. What operators said of the node stays.
func (c *Register) member(d *draft, old shard.Member, session shard.SessionID) shard.Member {
	m := shard.Member{
		ID: c.Node, Addr: c.Addr, Directory: c.Directory, Machine: c.Machine, Session: session,
		Zone: c.Zone, Voter: c.Voter, Roles: slices.Compact(slices.Sorted(slices.Values(c.Roles))),
		Cordoned: old.Cordoned, Draining: old.Draining, Maintenance: old.Maintenance,
	}
	if d.next.version >= endSince {
		m.Until = old.Until
	}
	for _, spec := range c.Hosts {
		m.Hosts = append(m.Hosts, spec.Name)
	}
	slices.Sort(m.Hosts)
	return m
}

func sameMember(a, b shard.Member) bool {
	return a.Addr == b.Addr && a.Directory == b.Directory && a.Machine == b.Machine && a.Session == b.Session &&
		a.Zone == b.Zone && a.Voter == b.Voter && a.Cordoned == b.Cordoned && a.Draining == b.Draining &&
		a.Maintenance == b.Maintenance && a.Until == b.Until && a.Leaving == b.Leaving && slices.Equal(a.Roles, b.Roles) && slices.Equal(a.Hosts, b.Hosts)
}

// newTypes reports why the declared types cannot all be registered.
func (c *Register) newTypes(d *draft) *shard.Error {
	count, shards := len(d.next.View.Types)+len(d.types), uint64(0)
	for _, t := range d.next.View.Types { //lint:maporder a sum
		shards += uint64(t.Spec.Shards)
	}
	for _, spec := range d.delta.Types {
		shards += uint64(spec.Shards)
	}
	for _, spec := range c.Hosts {
		switch have, known := d.typeNamed(spec.Name); {
		case !known:
			count, shards = count+1, shards+uint64(spec.Shards)
		case have != spec:
			return shard.Errorf(shard.CodeMismatch, "type %s is registered with other options: %+v, not %+v", spec.Name, have, spec)
		}
	}
	if count > MaxTypes || shards > MaxShards {
		return shard.Errorf(shard.CodeOverloaded, "%d types with %d shards, at most %d and %d", count, shards, MaxTypes, MaxShards)
	}
	return nil
}

// register adds the types that are new.
func (d *draft) register(specs []shard.Spec) {
	for _, spec := range specs {
		if _, known := d.typeNamed(spec.Name); !known {
			d.types[spec.Name] = len(d.delta.Types)
			d.delta.Types = append(d.delta.Types, spec)
		}
	}
}

// upAt returns the member that is up at the address, "" when none is; of several, which there may be from before addrSince, the first by name.
func (d *draft) upAt(addr string) (found shard.NodeID) {
	look := func(id shard.NodeID) {
		if m, _ := d.member(id); m.Addr == addr && (found == "" || id < found) {
			if _, up := d.up(id); up {
				found = id
			}
		}
	}
	for _, m := range d.delta.Members {
		look(m.ID)
	}
	for id := range d.next.View.Members { //lint:maporder the first by name
		look(id)
	}
	return found
}

// memberWith returns the member that has the directory, "" when none has.
func (d *draft) memberWith(directory shard.DirectoryID) shard.NodeID {
	for _, m := range d.delta.Members {
		if m.Directory == directory {
			return m.ID
		}
	}
	for id := range d.next.View.Members { //lint:maporder at most one member has a directory
		if m, _ := d.member(id); m.Directory == directory {
			return id
		}
	}
	return ""
}
