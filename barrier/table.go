package barrier

import (
	"maps"
	"slices"
)

// A Table holds the open round of every barrier and what became of the calls of every live session.
//
// Parties arrive by name, so a retried Arrive is the same arrival. The round releases when Parties of them are in; the
// next Arrive opens a round with a higher generation. A call's fate is kept by its request number: a retry after a lost
// release gets that release instead of joining the next round, and a call that was withdrawn stays out even when its
// Arrive was under way and lands after the Withdraw.
//
// A Table is immutable: every method returns the next one and leaves the receiver as it was, so readers need no lock.
//
// Rejected: counting arrivals without names. One retry after a lost reply released a round too early. Rejected: keeping
// results by participant alone. The default participant is a new one for every call, so nothing would ever be dropped.
type Table struct {
	last     Generation // the newest generation handed out
	waiting  int        // parties in all rounds
	rounds   map[Name]*Round
	sessions map[Session]*fates
}

// fates is what became of a session's calls. Immutable.
type fates struct {
	forgotten uint64 // the highest request whose fate was dropped for want of room
	calls     []fate // in the order they were decided, at most MaxResults
}

// fate is what became of one call.
type fate struct {
	name        Name
	participant Participant
	request     uint64
	release     *Release // nil: withdrawn
}

// NewTable returns the table in which nobody waits.
func NewTable() *Table {
	return &Table{rounds: map[Name]*Round{}, sessions: map[Session]*fates{}}
}

// Arrive enters a party. The Release is not nil when this arrival completed the round; then the outcome is Released.
// A Refusal leaves the table as it was. The caller has checked that the session is live.
func (t *Table) Arrive(a Arrival) (*Table, Outcome, *Release, *Refusal) {
	a.Party = a.Party.named()
	if refusal := a.validate(); refusal != nil {
		return t, Outcome{}, nil, refusal
	}
	if f, known := t.fate(a.Name, a.Party); known {
		out, refusal := f.answer(a)
		return t, out, nil, refusal
	}
	if refusal := t.tooOld(a.Name, a.Party); refusal != nil {
		return t, Outcome{}, nil, refusal
	}
	open, refusal := t.roundFor(a)
	if refusal != nil {
		return t, Outcome{}, nil, refusal
	}
	round, replaced := open.with(a.Party)
	if len(round.Arrived) == round.Parties {
		release := &Release{round.Name, round.Generation, round.Arrived}
		return t.release(release), release.Outcome(), release, nil
	}
	next := t.withRound(round)
	if replaced.Session != 0 && replaced.Session != a.Session {
		next.remember(replaced.Session, fate{a.Name, a.Participant, replaced.Request, nil})
	}
	return next, round.outcome(), nil, nil
}

// validate checks what needs no table.
func (a Arrival) validate() *Refusal {
	switch {
	case a.Parties < 1 || a.Parties > MaxParties:
		return refuse(Invalid, "barrier %s: parties = %d, must be 1 to %d", clip(string(a.Name)), a.Parties, MaxParties)
	default:
		return a.Party.validate(a.Name)
	}
}

func (p Party) validate(name Name) *Refusal {
	switch {
	case name == "" || len(name) > MaxNameLength:
		return refuse(Invalid, "barrier name %q must have 1 to %d bytes", clip(string(name)), MaxNameLength)
	case len(p.Participant) > MaxParticipant:
		return refuse(Invalid, "barrier %s: participant %q has more than %d bytes", name, clip(string(p.Participant)), MaxParticipant)
	case p.Session == 0 || p.Request == 0:
		return refuse(Invalid, "barrier %s: session and request must be above 0", name)
	}
	return nil
}

// answer repeats to a retried arrival what became of it.
func (f fate) answer(a Arrival) (Outcome, *Refusal) {
	switch {
	case f.release == nil:
		return Outcome{State: Withdrawn}, nil
	case len(f.release.Parties) != a.Parties:
		return Outcome{}, refuse(Reused, "barrier %s: request %d was released among %d parties, not %d",
			a.Name, a.Request, len(f.release.Parties), a.Parties)
	}
	return f.release.Outcome(), nil
}

// roundFor returns the open round that the arrival may enter, a new one if need be.
func (t *Table) roundFor(a Arrival) (*Round, *Refusal) {
	open, exists := t.rounds[a.Name]
	switch {
	case !exists && len(t.rounds) >= MaxOpen:
		return nil, refuse(Full, "barrier %s: %d barriers are open, the most there can be", a.Name, MaxOpen)
	case !exists:
		open = &Round{Name: a.Name, Generation: t.last + 1, Parties: a.Parties, First: a.Participant}
	case open.Parties != a.Parties:
		return nil, refuse(Mismatch, "barrier %s waits for %d parties, as %s said first, not for %d",
			a.Name, open.Parties, open.First, a.Parties)
	}
	if t.waiting >= MaxWaiting && open.find(a.Participant) < 0 {
		return nil, refuse(Full, "barrier %s: %d parties wait, the most there can be", a.Name, MaxWaiting)
	}
	return open, nil
}

// Withdraw takes an arrival back. The outcome is Released when the round had opened before: that is success, not a
// timeout. Otherwise it is Withdrawn, and an Arrive of the same request that comes later stays out. The caller has
// checked that the session is live.
func (t *Table) Withdraw(w Withdrawal) (*Table, Outcome, *Refusal) {
	w.Party = w.Party.named()
	if refusal := w.Party.validate(w.Name); refusal != nil {
		return t, Outcome{}, refusal
	}
	if f, known := t.fate(w.Name, w.Party); known {
		if f.release != nil {
			return t, f.release.Outcome(), nil
		}
		return t, Outcome{State: Withdrawn}, nil
	}
	if refusal := t.tooOld(w.Name, w.Party); refusal != nil {
		return t, Outcome{}, refusal
	}
	next := t.without(w.Name, func(p Party) bool { return p == w.Party })
	next.remember(w.Session, fate{w.Name, w.Participant, w.Request, nil})
	return next, Outcome{State: Withdrawn}, nil
}

// EndSession withdraws every arrival of a session that is over and forgets its results.
func (t *Table) EndSession(s Session) *Table {
	next := t
	for _, name := range slices.Sorted(maps.Keys(t.rounds)) {
		if slices.ContainsFunc(t.rounds[name].Arrived, func(p Party) bool { return p.Session == s }) {
			next = next.without(name, func(p Party) bool { return p.Session == s })
		}
	}
	if next.sessions[s] != nil {
		next = next.clone()
		delete(next.sessions, s)
	}
	return next
}

// Open returns the open rounds by name.
func (t *Table) Open() []Round {
	rounds := make([]Round, 0, len(t.rounds))
	for _, name := range slices.Sorted(maps.Keys(t.rounds)) {
		rounds = append(rounds, *t.rounds[name])
	}
	return rounds
}

// Waiting returns the call that waits under the participant's name; ok is false when none does.
func (t *Table) Waiting(name Name, who Participant) (p Party, ok bool) {
	open := t.rounds[name]
	if open == nil {
		return Party{}, false
	}
	i := open.find(who)
	if i < 0 {
		return Party{}, false
	}
	return open.Arrived[i], true
}

// fate looks up what became of a call. An older call of the same participant and session as a released one was
// superseded by it in that round, so it shares the release.
func (t *Table) fate(name Name, p Party) (fate, bool) {
	of := t.sessions[p.Session]
	if of == nil {
		return fate{}, false
	}
	i := slices.IndexFunc(of.calls, func(f fate) bool {
		superseded := f.release != nil && f.participant == p.Participant && p.Request < f.request
		return f.name == name && (f.request == p.Request || superseded)
	})
	if i < 0 {
		return fate{}, false
	}
	return of.calls[i], true
}

// tooOld refuses a call that is neither waiting nor remembered and whose fate may have been dropped.
func (t *Table) tooOld(name Name, p Party) *Refusal {
	of := t.sessions[p.Session]
	if of == nil || p.Request > of.forgotten {
		return nil
	}
	if round := t.rounds[name]; round != nil && slices.Contains(round.Arrived, p) {
		return nil
	}
	return refuse(TooOld, "barrier %s: request %d of session %d is older than the results kept", name, p.Request, p.Session)
}

// release closes the round and remembers it for each of its parties.
func (t *Table) release(r *Release) *Table {
	next := t.clone()
	next.last = max(next.last, r.Generation)
	if open := next.rounds[r.Name]; open != nil {
		next.waiting -= len(open.Arrived)
		delete(next.rounds, r.Name)
	}
	decided := map[Session][]fate{}
	for _, p := range r.Parties {
		decided[p.Session] = append(decided[p.Session], fate{r.Name, p.Participant, p.Request, r})
	}
	for _, p := range r.Parties {
		next.remember(p.Session, decided[p.Session]...)
		delete(decided, p.Session)
	}
	return next
}

// withRound puts the round in the place of the one of that name.
func (t *Table) withRound(round *Round) *Table {
	next := t.clone()
	next.last = max(next.last, round.Generation)
	if open := next.rounds[round.Name]; open != nil {
		next.waiting -= len(open.Arrived)
	}
	next.waiting += len(round.Arrived)
	next.rounds[round.Name] = round
	return next
}

// without takes the parties that match out of the round; a round nobody is left in is forgotten.
func (t *Table) without(name Name, leaves func(Party) bool) *Table {
	next := t.clone()
	open := next.rounds[name]
	if open == nil {
		return next
	}
	rest := *open // the round keeps its generation: it has not opened
	rest.Arrived = slices.DeleteFunc(slices.Clone(open.Arrived), leaves)
	next.waiting -= len(open.Arrived) - len(rest.Arrived)
	next.rounds[name] = &rest
	if len(rest.Arrived) == 0 {
		delete(next.rounds, name)
	}
	return next
}

// remember notes fates in a table that is not shared yet.
func (t *Table) remember(s Session, decided ...fate) {
	if len(decided) == 0 {
		return
	}
	next := fates{}
	if of := t.sessions[s]; of != nil {
		next = *of
	}
	next.calls = append(slices.Clone(next.calls), decided...)
	if extra := len(next.calls) - MaxResults; extra > 0 {
		for _, old := range next.calls[:extra] {
			next.forgotten = max(next.forgotten, old.request)
		}
		next.calls = slices.Clone(next.calls[extra:])
	}
	t.sessions[s] = &next
}

func (t *Table) clone() *Table {
	next := *t
	next.rounds = maps.Clone(t.rounds)
	next.sessions = maps.Clone(t.sessions)
	return &next
}

// with returns the round with the party in it, and the call of the same participant that it replaced, if any.
func (r *Round) with(p Party) (next *Round, replaced Party) {
	next = new(Round)
	*next = *r
	next.Arrived = slices.Clone(r.Arrived)
	i := r.find(p.Participant)
	switch {
	case i < 0:
		next.Arrived = append(next.Arrived, p)
	case p.supersedes(next.Arrived[i]):
		replaced, next.Arrived[i] = next.Arrived[i], p // the party came back: the release is now for this call
	}
	return next, replaced
}

func (r *Round) find(p Participant) int {
	return slices.IndexFunc(r.Arrived, func(q Party) bool { return q.Participant == p })
}

func (r *Round) outcome() Outcome {
	return Outcome{State: Waiting, Generation: r.Generation, Parties: r.Parties, Arrived: len(r.Arrived)}
}

func clip(s string) string {
	const most = 80
	return s[:min(len(s), most)]
}
