package fsm

import "muster/shard"

// RequireQuorum sets how many distinct members must be up before nodes start to serve; 0 lifts the gate. State.Gate
// tells how it stands.
type RequireQuorum struct {
	Members int `cbor:"1,keyasint"`
}

// Validate implements Command.
func (c *RequireQuorum) Validate() *shard.Error {
	if c.Members < 0 || c.Members > MaxMembers {
		return shard.Errorf(shard.CodeInvalid, "required quorum = %d, must be 0 to %d", c.Members, MaxMembers)
	}
	return nil
}

func (c *RequireQuorum) apply(d *draft) Verdict {
	if d.required() != c.Members {
		d.delta.Required = &c.Members
	}
	return Verdict{}
}
