// Package barrier is the rendezvous of N parties: they arrive one by one, and when the last is in, all are released
// together, once. It is a pure value with no clock: a party whose patience ends is taken out by Withdraw, a command like
// any other, so every node that applies the same commands in the same order agrees on who was released.
//
// The package imports nothing of this module. Its Session is the group's session number.
package barrier

import "fmt"

// Limits. Each is refused with the Reason named beside it.
const (
	MaxParties     = 1_024  // parties of one barrier; Invalid
	MaxNameLength  = 64     // bytes of a barrier's name; Invalid
	MaxParticipant = 128    // bytes of a participant's name; Invalid
	MaxOpen        = 4_096  // barriers somebody waits in; Full
	MaxWaiting     = 65_536 // parties that wait, over all barriers; Full
	MaxResults     = 1_024  // results kept for one session; older requests are TooOld
)

type (
	// Name names a barrier. It needs no declaration: the first arrival opens a round, and a name nobody waits in is forgotten.
	Name string
	// Generation numbers the rounds of all barriers together. It only rises, so two rounds never share one.
	Generation uint64
	// Session is the number of the process life a party arrived from.
	Session uint64
	// Participant names a party within a round. The same name arriving again is the same party.
	Participant string
)

// Party is one arrival: who, and by which request of which session it came.
type Party struct {
	Participant Participant `cbor:"1,keyasint"` // "" in an Arrival or Withdrawal means the default, Session/Request
	Session     Session     `cbor:"2,keyasint"`
	Request     uint64      `cbor:"3,keyasint"` // rises with every call of the session; from 1
}

// named returns the party under its default name when it has none.
func (p Party) named() Party {
	if p.Participant == "" {
		p.Participant = Participant(fmt.Sprintf("%d/%d", p.Session, p.Request))
	}
	return p
}

// supersedes reports whether p, which arrives under the name of q, takes its place. Within a session the higher request is
// the later call. Of two sessions the one that comes now is: the other's process is gone or has given up.
func (p Party) supersedes(q Party) bool { return p.Session != q.Session || p.Request > q.Request }

// Arrival asks to enter the barrier Name, which takes Parties parties.
type Arrival struct {
	Name    Name
	Parties int
	Party
}

// Withdrawal takes back one arrival, because the party no longer waits.
type Withdrawal struct {
	Name Name
	Party
}

// State says where one call stands.
type State uint8

const (
	Waiting   State = iota + 1 // it is in an open round
	Released                   // its round was complete and opened
	Withdrawn                  // it is in no round, and will never be
)

func (s State) String() string {
	names := [...]string{"", "waiting", "released", "withdrawn"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("unknown(%d)", s)
}

// Outcome answers an Arrival or a Withdrawal.
type Outcome struct {
	State        State         `cbor:"1,keyasint"`
	Generation   Generation    `cbor:"2,keyasint,omitempty"` // of the round; 0 when withdrawn
	Parties      int           `cbor:"3,keyasint,omitempty"`
	Arrived      int           `cbor:"4,keyasint,omitempty"` // how many are in
	Participants []Participant `cbor:"5,keyasint,omitempty"` // once released: all of them, in the order they came
}

// Release is one opening of a barrier: what every party of that round is told. Shared and read-only.
type Release struct {
	Name       Name       `cbor:"1,keyasint"`
	Generation Generation `cbor:"2,keyasint"`
	Parties    []Party    `cbor:"3,keyasint"` // in the order they came
}

// Outcome is the answer each party of the release gets.
func (r *Release) Outcome() Outcome {
	out := Outcome{State: Released, Generation: r.Generation, Parties: len(r.Parties), Arrived: len(r.Parties)}
	for _, p := range r.Parties {
		out.Participants = append(out.Participants, p.Participant)
	}
	return out
}

// Round is an open barrier: somebody waits in it. Read-only.
//
// Invariant: 1 ≤ len(Arrived) < Parties; participants are distinct. See Table.Check.
type Round struct {
	Name       Name        `cbor:"1,keyasint"`
	Generation Generation  `cbor:"2,keyasint"`
	Parties    int         `cbor:"3,keyasint"`
	First      Participant `cbor:"4,keyasint"` // who fixed Parties; it may have withdrawn since
	Arrived    []Party     `cbor:"5,keyasint"` // in the order they came
}

// Reason says why a call was refused.
type Reason uint8

const (
	Invalid  Reason = iota + 1 // the call can never succeed as it is
	Mismatch                   // the open round takes another number of parties
	Full                       // a named limit is reached
	TooOld                     // what became of the request is no longer known: it may have been released
	Reused                     // the request was released, from a round of another number of parties
)

// Refusal is why a call changed nothing.
type Refusal struct {
	Reason Reason
	Detail string // a sentence for a person
}

func (r *Refusal) Error() string { return r.Detail }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}
