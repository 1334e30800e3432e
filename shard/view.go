package shard

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Member is a node of the group, a voter or not.
type Member struct {
	ID        NodeID      `cbor:"1,keyasint"`
	Addr      string      `cbor:"2,keyasint"`
	Directory DirectoryID `cbor:"3,keyasint"`
	Machine   MachineID   `cbor:"4,keyasint"`
	Session   SessionID   `cbor:"5,keyasint"` // its newest session, live exactly when View.Sessions has it
	Zone      string      `cbor:"6,keyasint,omitempty"`
	Roles     []string    `cbor:"7,keyasint,omitempty"`
	Voter     bool        `cbor:"8,keyasint,omitempty"`
	Hosts     []TypeName  `cbor:"9,keyasint,omitempty"` // the entity types it declares, sorted

	// What operators said of the node. It stays when the node restarts.
	Cordoned    bool `cbor:"10,keyasint,omitempty"` // nothing new is placed on it
	Draining    bool `cbor:"11,keyasint,omitempty"` // everything it has is to move away
	Maintenance bool `cbor:"12,keyasint,omitempty"` // it will be back: its copies are not rebuilt elsewhere meanwhile
	// When the maintenance ends, Unix milliseconds on the leader's clock, which ends it with a command; 0 for no end.
	Until int64 `cbor:"14,keyasint,omitempty"`
	// What the node itself said: it is about to stop, and the shards it leads are to be handed over. Its next session begins
	// without.
	Leaving bool `cbor:"13,keyasint,omitempty"`
}

// Open reports whether anything new may be placed on the member, as far as its marks go.
func (m Member) Open() bool { return !m.Cordoned && !m.Draining && !m.Leaving }

// Session is one life of a node process. Only live sessions are kept.
type Session struct {
	ID        SessionID   `cbor:"1,keyasint"`
	Node      NodeID      `cbor:"2,keyasint"`
	Directory DirectoryID `cbor:"3,keyasint"`
}

// TypeView is an entity type and the placement of each of its shards, by number; nil means not placed yet.
type TypeView struct {
	Spec       Spec
	Placements []*Placement
}

// View is one immutable version of the group's map: what every node needs to route, to lead and to explain. The
// replicated state machine holds one, and every node follows it by applying the same Deltas, so With is the only code
// that changes a map anywhere.
type View struct {
	Group       GroupID
	Index       Index
	Types       map[TypeName]*TypeView
	Members     map[NodeID]Member
	Sessions    map[SessionID]Session
	LastSession SessionID // the youngest session ever minted; an unknown id at or below it has ended
	Required    int       // required quorum, 0 for none
	Paused      bool      // an operator stopped rebalancing; recovery, repair and drains go on
	PausedUntil int64     // when the leader ends that, Unix milliseconds on its clock; 0 for no end
}

// Delta is what one Raft entry changed in the View, or with Reset the whole of it. Renewals make none.
type Delta struct {
	Reset       bool        `cbor:"1,keyasint,omitempty"` // start from an empty View
	Index       Index       `cbor:"2,keyasint"`
	Group       GroupID     `cbor:"3,keyasint,omitempty"`
	Types       []Spec      `cbor:"4,keyasint,omitempty"`
	Placements  []Placement `cbor:"5,keyasint,omitempty"`
	Members     []Member    `cbor:"6,keyasint,omitempty"`
	Sessions    []Session   `cbor:"7,keyasint,omitempty"`
	Ended       []SessionID `cbor:"8,keyasint,omitempty"`
	Required    *int        `cbor:"9,keyasint,omitempty"`
	LastSession SessionID   `cbor:"10,keyasint,omitempty"`
	Removed     []NodeID    `cbor:"11,keyasint,omitempty"` // members that are gone for good, before Members adds any
	Paused      *bool       `cbor:"12,keyasint,omitempty"`
	PausedUntil int64       `cbor:"14,keyasint,omitempty"` // goes with Paused
	More        bool        `cbor:"13,keyasint,omitempty"` // a part: the next Delta continues it. See Split
}

// Split cuts a delta into parts of at most `most` items of each kind, so that a large map fits into messages of a bearable
// size. Together they say what d says, in order, and all but the last are marked More. No part is a change of its own:
// there is no map between two of them, so With refuses them until Join has put them together.
func (d *Delta) Split(most int) []*Delta {
	most = max(1, most)
	parts := []*Delta{}
	rest := *d
	for len(parts) == 0 || parts[len(parts)-1].More {
		part := rest
		rest = Delta{Index: d.Index}
		part.Types, rest.Types = cut(part.Types, most)
		part.Placements, rest.Placements = cut(part.Placements, most)
		part.Members, rest.Members = cut(part.Members, most)
		part.Removed, rest.Removed = cut(part.Removed, most)
		part.Sessions, rest.Sessions = cut(part.Sessions, most)
		part.Ended, rest.Ended = cut(part.Ended, most)
		part.More = !rest.Empty()
		parts = append(parts, &part)
	}
	return parts
}

// Join adds the part that continues d. It fails, changing nothing, when d is whole already or the part does not belong to it.
func (d *Delta) Join(part *Delta) error {
	if !d.More || part.Index != d.Index || part.Reset || part.Group != "" {
		return fmt.Errorf("delta %d does not continue delta %d", part.Index, d.Index)
	}
	d.Types = append(d.Types, part.Types...)
	d.Placements = append(d.Placements, part.Placements...)
	d.Members = append(d.Members, part.Members...)
	d.Removed = append(d.Removed, part.Removed...)
	d.Sessions = append(d.Sessions, part.Sessions...)
	d.Ended = append(d.Ended, part.Ended...)
	d.More = part.More
	return nil
}

// cut returns the first items of a list and the rest, nil for none.
func cut[T any](list []T, most int) (first, rest []T) {
	if len(list) <= most {
		return list, nil
	}
	return list[:most:most], list[most:]
}

// Empty reports whether applying d changes no more than the index.
func (d *Delta) Empty() bool {
	return !d.Reset && d.Group == "" && d.Required == nil && d.Paused == nil && d.LastSession == 0 &&
		len(d.Types)+len(d.Placements)+len(d.Members)+len(d.Removed)+len(d.Sessions)+len(d.Ended) == 0
}

// NewView returns the empty map.
func NewView() *View {
	return &View{
		Types: map[TypeName]*TypeView{}, Members: map[NodeID]Member{}, Sessions: map[SessionID]Session{},
	}
}

// Placement returns where the shard is, nil when its type is unknown, its number out of range or it is not placed yet.
func (v *View) Placement(id ID) *Placement {
	t := v.Types[id.Type]
	if t == nil || int(id.Number) >= len(t.Placements) {
		return nil
	}
	return t.Placements[id.Number]
}

// Locate returns the shard of an entity; ok is false when no such type is registered.
func (v *View) Locate(t TypeName, entity EntityID) (id ID, ok bool) {
	tv := v.Types[t]
	if tv == nil {
		return ID{}, false
	}
	return ID{t, Of(entity, tv.Spec.Shards)}, true
}

// Up reports whether the member's session is live.
func (v *View) Up(id NodeID) bool {
	m, known := v.Members[id]
	_, live := v.Sessions[m.Session]
	return known && live
}

// Ended reports whether the session is known to be over; false for one that is live or not seen yet.
func (v *View) Ended(id SessionID) bool {
	_, live := v.Sessions[id]
	return !live && id <= v.LastSession
}

// With returns the view after d. It copies the maps that d touches and shares the rest; the receiver is not changed.
// It fails, returning nil, on a delta that is not newer, not whole, or that refers to what is not there; the caller
// resynchronises.
func (v *View) With(d *Delta) (*View, error) {
	if d.More {
		return nil, fmt.Errorf("delta %d is only a part", d.Index)
	}
	next := *v
	if d.Reset {
		next = *NewView()
	} else if d.Index <= v.Index {
		return nil, fmt.Errorf("delta %d does not follow view %d", d.Index, v.Index)
	}
	next.Index = d.Index
	next.Group = cmp.Or(d.Group, next.Group)
	next.LastSession = max(next.LastSession, d.LastSession)
	if d.Required != nil {
		next.Required = *d.Required
	}
	if d.Paused != nil {
		next.Paused, next.PausedUntil = *d.Paused, d.PausedUntil
	}
	if len(d.Members)+len(d.Removed) > 0 {
		next.Members = maps.Clone(next.Members)
		for _, id := range d.Removed {
			delete(next.Members, id)
		}
		for _, m := range d.Members {
			next.Members[m.ID] = m
		}
	}
	if len(d.Sessions)+len(d.Ended) > 0 {
		next.Sessions = maps.Clone(next.Sessions)
		for _, s := range d.Sessions {
			next.Sessions[s.ID] = s
			next.LastSession = max(next.LastSession, s.ID)
		}
		for _, id := range d.Ended {
			delete(next.Sessions, id)
		}
	}
	if err := next.place(d); err != nil {
		return nil, err
	}
	return &next, nil
}

func (v *View) place(d *Delta) error {
	if len(d.Types)+len(d.Placements) == 0 {
		return nil
	}
	v.Types = maps.Clone(v.Types)
	for _, spec := range d.Types {
		if v.Types[spec.Name] != nil {
			return fmt.Errorf("delta %d registers type %s again", d.Index, spec.Name)
		}
		if err := spec.Validate(); err != nil {
			return fmt.Errorf("delta %d: %w", d.Index, err)
		}
		v.Types[spec.Name] = &TypeView{Spec: spec, Placements: make([]*Placement, spec.Shards)}
	}
	owned := map[TypeName]bool{}
	for i := range d.Placements {
		p := &d.Placements[i]
		t := v.Types[p.Shard.Type]
		if t == nil || int(p.Shard.Number) >= len(t.Placements) {
			return fmt.Errorf("delta %d places unknown shard %s", d.Index, p.Shard)
		}
		if !owned[p.Shard.Type] {
			owned[p.Shard.Type] = true
			t = &TypeView{Spec: t.Spec, Placements: slices.Clone(t.Placements)}
			v.Types[p.Shard.Type] = t
		}
		t.Placements[p.Shard.Number] = p
	}
	return nil
}

// Whole returns the delta that turns an empty view into v, everything in sorted order.
func (v *View) Whole() *Delta {
	d := &Delta{Reset: true, Index: v.Index, Group: v.Group, LastSession: v.LastSession, Required: &v.Required, Paused: &v.Paused, PausedUntil: v.PausedUntil}
	for _, name := range slices.Sorted(maps.Keys(v.Types)) {
		t := v.Types[name]
		d.Types = append(d.Types, t.Spec)
		for _, p := range t.Placements {
			if p != nil {
				d.Placements = append(d.Placements, *p)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(v.Members)) {
		d.Members = append(d.Members, v.Members[id])
	}
	for _, id := range slices.Sorted(maps.Keys(v.Sessions)) {
		d.Sessions = append(d.Sessions, v.Sessions[id])
	}
	return d
}
