package barrier

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Saved is a Table as plain data, everything sorted: equal tables make equal Saveds.
type Saved struct {
	Last     Generation     `cbor:"1,keyasint"`
	Rounds   []Round        `cbor:"2,keyasint,omitempty"` // by name
	Releases []Release      `cbor:"3,keyasint,omitempty"` // by generation; those that a call of a session still refers to
	Sessions []SavedSession `cbor:"4,keyasint,omitempty"` // by number
}

// SavedSession is what became of the calls of one session.
type SavedSession struct {
	Session   Session     `cbor:"1,keyasint"`
	Forgotten uint64      `cbor:"2,keyasint,omitempty"`
	Calls     []SavedCall `cbor:"3,keyasint,omitempty"` // in the order they were decided
}

// SavedCall is what became of one call.
type SavedCall struct {
	Name        Name        `cbor:"1,keyasint"`
	Participant Participant `cbor:"2,keyasint"`
	Request     uint64      `cbor:"3,keyasint"`
	Generation  Generation  `cbor:"4,keyasint,omitempty"` // of its release; 0 when withdrawn
}

// Save returns the table as plain data. It shares memory with the table: read-only.
func (t *Table) Save() Saved {
	saved := Saved{Last: t.last, Rounds: t.Open()}
	releases := map[Generation]*Release{}
	for _, id := range slices.Sorted(maps.Keys(t.sessions)) {
		of := t.sessions[id]
		session := SavedSession{Session: id, Forgotten: of.forgotten}
		for _, f := range of.calls {
			call := SavedCall{Name: f.name, Participant: f.participant, Request: f.request}
			if f.release != nil {
				call.Generation = f.release.Generation
				releases[call.Generation] = f.release
			}
			session.Calls = append(session.Calls, call)
		}
		saved.Sessions = append(saved.Sessions, session)
	}
	for _, generation := range slices.Sorted(maps.Keys(releases)) {
		saved.Releases = append(saved.Releases, *releases[generation])
	}
	return saved
}

// Restore makes the table that saved describes, keeping its memory. It fails on data no Table could have saved.
func Restore(saved Saved) (*Table, error) {
	t := NewTable()
	t.last = saved.Last
	if !increasing(saved.Rounds, func(r Round) Name { return r.Name }) ||
		!increasing(saved.Releases, func(r Release) Generation { return r.Generation }) ||
		!increasing(saved.Sessions, func(s SavedSession) Session { return s.Session }) {
		return nil, fmt.Errorf("saved barriers are not in order")
	}
	for i := range saved.Rounds {
		round := &saved.Rounds[i]
		t.rounds[round.Name] = round
		t.waiting += len(round.Arrived)
	}
	releases := map[Generation]*Release{}
	for i := range saved.Releases {
		releases[saved.Releases[i].Generation] = &saved.Releases[i]
	}
	for _, session := range saved.Sessions {
		of := &fates{forgotten: session.Forgotten}
		for _, call := range session.Calls {
			f := fate{name: call.Name, participant: call.Participant, request: call.Request}
			if call.Generation != 0 {
				if f.release = releases[call.Generation]; f.release == nil {
					return nil, fmt.Errorf("barrier %s: release %d is missing", clip(string(call.Name)), call.Generation)
				}
			}
			of.calls = append(of.calls, f)
		}
		t.sessions[session.Session] = of
	}
	return t, t.Check()
}

func increasing[E any, K cmp.Ordered](list []E, key func(E) K) bool {
	for i := 1; i < len(list); i++ {
		if key(list[i-1]) >= key(list[i]) {
			return false
		}
	}
	return true
}

// Check reports a broken invariant.
func (t *Table) Check() error {
	waiting := 0
	for _, round := range t.Open() {
		waiting += len(round.Arrived)
		if err := round.check(t.last); err != nil {
			return fmt.Errorf("barrier %q: %w", clip(string(round.Name)), err)
		}
	}
	if waiting != t.waiting || waiting > MaxWaiting || len(t.rounds) > MaxOpen {
		return fmt.Errorf("barriers: %d parties wait in %d rounds, counted %d", waiting, len(t.rounds), t.waiting)
	}
	for _, id := range slices.Sorted(maps.Keys(t.sessions)) {
		if err := t.sessions[id].check(t.last); err != nil {
			return fmt.Errorf("barrier calls of session %d: %w", id, err)
		}
	}
	return nil
}

func (r *Round) check(last Generation) error {
	switch {
	case r.Generation == 0 || r.Generation > last:
		return fmt.Errorf("generation %d, the newest is %d", r.Generation, last)
	case r.Parties > MaxParties || len(r.Arrived) < 1 || len(r.Arrived) >= r.Parties:
		return fmt.Errorf("%d of %d parties arrived and it is open", len(r.Arrived), r.Parties)
	}
	seen := map[Participant]bool{}
	for _, p := range r.Arrived {
		if err := p.validate(r.Name); err != nil {
			return err
		}
		if seen[p.Participant] {
			return fmt.Errorf("participant %q arrived twice", p.Participant)
		}
		seen[p.Participant] = true
	}
	return nil
}

func (of *fates) check(last Generation) error {
	if len(of.calls) > MaxResults {
		return fmt.Errorf("%d results are kept", len(of.calls))
	}
	for _, f := range of.calls {
		r := f.release
		switch {
		case f.request == 0:
			return fmt.Errorf("a result without a request")
		case r == nil:
		case r.Generation == 0 || r.Generation > last || len(r.Parties) == 0 || len(r.Parties) > MaxParties || r.Name != f.name:
			return fmt.Errorf("request %d: release %d of %q", f.request, r.Generation, clip(string(r.Name)))
		}
	}
	return nil
}
