package fsm

import (
	"cmp"
	"slices"

	"muster/shard"
)

// MaxVoters bounds the founders: a Raft group of more is slower and no safer.
const MaxVoters = 7

// Genesis is the first command of a group: its UUID and the nodes that formed it, which become members before they
// register. Until it is applied every other command is refused. The same Genesis again changes nothing.
type Genesis struct {
	Group  shard.GroupID `cbor:"1,keyasint"`
	Voters []Founder     `cbor:"2,keyasint"`
}

// Founder is a node that formed the group.
type Founder struct {
	Node      shard.NodeID      `cbor:"1,keyasint"`
	Addr      string            `cbor:"2,keyasint"`
	Directory shard.DirectoryID `cbor:"3,keyasint"`
}

// Validate implements Command.
func (c *Genesis) Validate() *shard.Error {
	if fault := validToken("group id", string(c.Group)); fault != nil {
		return fault
	}
	if len(c.Voters) < 1 || len(c.Voters) > MaxVoters {
		return shard.Errorf(shard.CodeInvalid, "a group is formed by 1 to %d voters, not %d", MaxVoters, len(c.Voters))
	}
	nodes, directories := map[shard.NodeID]bool{}, map[shard.DirectoryID]bool{}
	for _, f := range c.Voters {
		if err := f.Node.Validate(); err != nil {
			return shard.As(err)
		}
		if fault := cmp.Or(validToken("directory id", string(f.Directory)), validAddr(f.Addr)); fault != nil {
			return fault
		}
		if nodes[f.Node] || directories[f.Directory] {
			return shard.Errorf(shard.CodeInvalid, "founder %s or its directory is named twice", f.Node)
		}
		nodes[f.Node], directories[f.Directory] = true, true
	}
	return nil
}

func (c *Genesis) apply(d *draft) Verdict {
	if d.formed() {
		if d.group() == c.Group && slices.Equal(d.next.founders, c.Voters) {
			return Verdict{}
		}
		return refusef(shard.CodeWrongGroup, "this is group %s, formed before", d.group())
	}
	d.delta.Group = c.Group
	d.next.founders = c.Voters
	for _, f := range c.Voters {
		d.putMember(shard.Member{ID: f.Node, Addr: f.Addr, Directory: f.Directory, Voter: true})
	}
	return Verdict{}
}

// Limits of the words a node says about itself.
const (
	maxToken = 64  // bytes of a UUID or nonce
	maxAddr  = 255 // bytes of an address
)

// validToken accepts what names a group, directory, machine or process: printable ASCII without spaces.
func validToken(what, s string) *shard.Error {
	if s == "" || len(s) > maxToken {
		return shard.Errorf(shard.CodeInvalid, "%s must have 1 to %d bytes, not %d", what, maxToken, len(s))
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return shard.Errorf(shard.CodeInvalid, "%s %q must be printable ASCII without spaces", what, s)
		}
	}
	return nil
}

func validAddr(s string) *shard.Error {
	if s == "" || len(s) > maxAddr {
		return shard.Errorf(shard.CodeInvalid, "address must have 1 to %d bytes, not %d", maxAddr, len(s))
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return shard.Errorf(shard.CodeInvalid, "address %q must be printable ASCII without spaces", s)
		}
	}
	return nil
}
