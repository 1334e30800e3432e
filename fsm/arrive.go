package fsm

import (
	"unicode/utf8"

	"muster/barrier"
	"muster/shard"
)

// Arrive enters a barrier. The verdict's outcome says whether the party waits, was released, or had been withdrawn; the
// entry that completes a round also carries the Release for all its parties. Repeating an Arrive with the same Session and
// Request is harmless, also after the release. Another number of parties than the open round's is refused with CodeMismatch.
type Arrive struct {
	Name        string          `cbor:"1,keyasint"`
	Parties     int             `cbor:"2,keyasint"`
	Participant string          `cbor:"3,keyasint,omitempty"` // "" means a name of its own for each call
	Session     shard.SessionID `cbor:"4,keyasint"`
	Request     uint64          `cbor:"5,keyasint"` // the call's number in the session, from 1
}

// Withdraw takes an Arrive back because its caller waits no more: only when this is applied may the caller be told that it
// timed out. When the barrier opened first the outcome is Released, which is success.
type Withdraw struct {
	Name        string          `cbor:"1,keyasint"`
	Participant string          `cbor:"2,keyasint,omitempty"`
	Session     shard.SessionID `cbor:"3,keyasint"`
	Request     uint64          `cbor:"4,keyasint"`
}

// Validate implements Command.
func (c *Arrive) Validate() *shard.Error {
	if c.Parties < 1 || c.Parties > barrier.MaxParties {
		return shard.Errorf(shard.CodeInvalid, "barrier %.80q: parties = %d, must be 1 to %d", c.Name, c.Parties, barrier.MaxParties)
	}
	return validParty(c.Name, c.Participant, c.Session, c.Request)
}

// Validate implements Command.
func (c *Withdraw) Validate() *shard.Error {
	return validParty(c.Name, c.Participant, c.Session, c.Request)
}

func validParty(name, participant string, session shard.SessionID, request uint64) *shard.Error {
	if err := shard.ValidName(name); err != nil {
		return shard.As(err)
	}
	switch {
	case len(participant) > barrier.MaxParticipant:
		return shard.Errorf(shard.CodeInvalid, "barrier %s: participant of %d bytes, at most %d", name, len(participant), barrier.MaxParticipant)
	case !utf8.ValidString(participant): // no node could read the entry, nor what else it holds
		return shard.Errorf(shard.CodeInvalid, "barrier %s: participant %q is not UTF-8", name, participant)
	case session == 0 || request == 0:
		return shard.Errorf(shard.CodeInvalid, "barrier %s: session and request must be above 0", name)
	}
	return nil
}

func (c *Arrive) apply(d *draft) Verdict {
	if fault := d.party(c.Session); fault != nil {
		return refused(fault)
	}
	table, outcome, release, refusal := d.next.Barriers.Arrive(barrier.Arrival{
		Name: barrier.Name(c.Name), Parties: c.Parties, Party: partyOf(c.Participant, c.Session, c.Request),
	})
	if refusal != nil {
		return refused(faultOf(refusal))
	}
	d.next.Barriers = table
	if release != nil {
		d.releases = append(d.releases, *release)
	}
	return Verdict{Barrier: &outcome}
}

func (c *Withdraw) apply(d *draft) Verdict {
	if fault := d.party(c.Session); fault != nil {
		return refused(fault)
	}
	table, outcome, refusal := d.next.Barriers.Withdraw(barrier.Withdrawal{
		Name: barrier.Name(c.Name), Party: partyOf(c.Participant, c.Session, c.Request),
	})
	if refusal != nil {
		return refused(faultOf(refusal))
	}
	d.next.Barriers = table
	return Verdict{Barrier: &outcome}
}

func partyOf(participant string, session shard.SessionID, request uint64) barrier.Party {
	return barrier.Party{Participant: barrier.Participant(participant), Session: barrier.Session(session), Request: request}
}

// party refuses the call of a session that is not live. It may have been released before the session ended, so the
// outcome is unknown.
func (d *draft) party(id shard.SessionID) *shard.Error {
	if _, live := d.session(id); !live {
		return shard.Unknownf(shard.CodeSessionEnded, "session %d has ended", id)
	}
	return nil
}

func faultOf(r *barrier.Refusal) *shard.Error {
	switch r.Reason {
	case barrier.Mismatch:
		return shard.Errorf(shard.CodeMismatch, "%s", r.Detail)
	case barrier.Full:
		return shard.Errorf(shard.CodeOverloaded, "%s", r.Detail)
	case barrier.TooOld:
		return shard.Unknownf(shard.CodeRequestTooOld, "%s", r.Detail)
	case barrier.Reused:
		return shard.Errorf(shard.CodeRequestReused, "%s", r.Detail)
	default:
		return shard.Errorf(shard.CodeInvalid, "%s", r.Detail)
	}
}
