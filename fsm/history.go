package fsm

import (
	"fmt"
	"maps"
	"slices"

	"muster/shard"
)

// Limits of what is remembered of the past. A shard's oldest changes are forgotten first. With more than MaxChanges /
// MaxHistory shards each of them keeps less, so that a state's size stays in proportion.
const (
	MaxHistory = 32      // changes of one shard
	MaxChanges = 1 << 20 // changes of all shards together
)

// Change is one line of a shard's history: what the placement became, and why.
type Change struct {
	Index    shard.Index         `cbor:"1,keyasint"`           // the entry; one entry may change a shard more than once
	Time     int64               `cbor:"2,keyasint,omitempty"` // Unix milliseconds of the newest leader's clock in the log, 0 for none
	Epoch    shard.Epoch         `cbor:"3,keyasint,omitempty"`
	Version  shard.ConfigVersion `cbor:"4,keyasint"`
	Status   shard.Status        `cbor:"5,keyasint"`
	Cause    shard.Cause         `cbor:"6,keyasint"`
	Primary  shard.CopyID        `cbor:"7,keyasint,omitempty"`
	Node     shard.NodeID        `cbor:"8,keyasint,omitempty"`  // the primary's
	HandNode shard.NodeID        `cbor:"9,keyasint,omitempty"`  // where the primary was wished
	Copies   []Seat              `cbor:"10,keyasint,omitempty"` // C
	Learners []Seat              `cbor:"11,keyasint,omitempty"`
	Base     shard.Position      `cbor:"12,keyasint,omitzero"`  // of an election: where the chosen log ended
	Cut      shard.LSN           `cbor:"14,keyasint,omitempty"` // of an election: so many records of some other copy are not in that log, and are truncated
	GivenUp  []Seat              `cbor:"13,keyasint,omitempty"` // what an epoch began without, though it may hold what nobody else has
}

// Seat is a copy and its node.
type Seat struct {
	Copy shard.CopyID `cbor:"1,keyasint"`
	Node shard.NodeID `cbor:"2,keyasint"`
	Lost bool         `cbor:"3,keyasint,omitempty"`
}

// past is the newest change of a shard, linked to the one before. It is immutable, so states share it.
type past struct {
	Change
	older *past
	depth int // of the list
}

// History returns the newest changes of a shard, oldest first; nil for a shard that was never placed. Lists inside are
// shared: read-only.
func (s *State) History(id shard.ID) []Change {
	list := s.pasts[id.Type]
	if int(id.Number) >= len(list) {
		return nil
	}
	return list[id.Number].newest(s.historyLength())
}

// historyLength is how many changes of each shard count. It never rises, since types are never taken away: so what one node
// forgot on the way, another that restored a snapshot cannot still know.
func (s *State) historyLength() int {
	shards := 1
	for _, t := range s.View.Types { //lint:maporder a sum
		shards += int(t.Spec.Shards)
	}
	return min(MaxHistory, max(1, MaxChanges/shards))
}

// newest returns at most n changes, oldest first.
func (p *past) newest(n int) []Change {
	if p == nil {
		return nil
	}
	n = min(n, p.depth)
	changes := make([]Change, n)
	for i := n - 1; i >= 0; i, p = i-1, p.older {
		changes[i] = p.Change
	}
	return changes
}

// then returns the list with one more change. A list grows to twice the length that counts and is cut down then, so that a
// change costs little.
func (p *past) then(c Change, length int) *past {
	if p == nil {
		return &past{Change: c, depth: 1}
	}
	if slices.Equal(p.Copies, c.Copies) {
		c.Copies = p.Copies
	}
	if p.depth < 2*length {
		return &past{Change: c, older: p, depth: p.depth + 1}
	}
	return pastOf(append(p.newest(length), c))
}

func pastOf(changes []Change) *past {
	var p *past
	for i, c := range changes {
		p = &past{Change: c, older: p, depth: i + 1}
	}
	return p
}

func changeOf(p *shard.Placement, why shard.Cause) (shard.ID, Change) {
	c := Change{
		Index: p.Changed, Epoch: p.Epoch, Version: p.Version, Status: p.Status, Cause: why,
		Primary: p.Primary, Node: p.Node, HandNode: p.HandNode,
	}
	for _, have := range p.Copies {
		c.Copies = append(c.Copies, Seat{have.ID, have.Node, have.State == shard.CopyLost})
	}
	for _, l := range p.Learners {
		c.Learners = append(c.Learners, Seat{l.Copy.ID, l.Copy.Node, false})
	}
	return p.Shard, c
}

// remember adds a change to a shard's history.
func (d *draft) remember(id shard.ID, c Change) {
	if len(d.ownPasts) == 0 {
		if d.next.pasts = maps.Clone(d.next.pasts); d.next.pasts == nil {
			d.next.pasts = map[shard.TypeName][]*past{}
		}
	}
	if !d.ownPasts[id.Type] {
		d.ownPasts[id.Type] = true
		spec, _ := d.typeNamed(id.Type)
		own := make([]*past, spec.Shards)
		copy(own, d.next.pasts[id.Type])
		d.next.pasts[id.Type] = own
	}
	if d.length == 0 {
		d.length = d.next.historyLength()
	}
	c.Time = d.next.time
	list := d.next.pasts[id.Type]
	list[id.Number] = list[id.Number].then(c, d.length)
}

// record is a shard's history in a snapshot.
type record struct {
	Shard   shard.ID `cbor:"1,keyasint"`
	Changes []Change `cbor:"2,keyasint"`
}

// records returns every shard's history, in the order of the map's placements.
func (s *State) records() []record {
	var all []record
	length := s.historyLength()
	for _, name := range slices.Sorted(maps.Keys(s.View.Types)) {
		for n, p := range s.pasts[name] {
			if p != nil {
				all = append(all, record{shard.ID{Type: name, Number: shard.Number(n)}, p.newest(length)})
			}
		}
	}
	return all
}

// recall takes the histories of a snapshot.
func (s *State) recall(all []record) error {
	s.pasts = map[shard.TypeName][]*past{}
	for _, r := range all {
		t := s.View.Types[r.Shard.Type]
		if t == nil || int(r.Shard.Number) >= len(t.Placements) || len(r.Changes) > s.historyLength() {
			return fmt.Errorf("history of shard %s with %d changes", r.Shard, len(r.Changes))
		}
		if s.pasts[r.Shard.Type] == nil {
			s.pasts[r.Shard.Type] = make([]*past, len(t.Placements))
		}
		if s.pasts[r.Shard.Type][r.Shard.Number] != nil {
			return fmt.Errorf("history of shard %s twice", r.Shard)
		}
		s.pasts[r.Shard.Type][r.Shard.Number] = pastOf(r.Changes)
	}
	return nil
}

// checkHistory sees that what is remembered of a shard leads up to what it is now.
func (s *State) checkHistory(p *shard.Placement) error {
	list := s.pasts[p.Shard.Type]
	if int(p.Shard.Number) >= len(list) || list[p.Shard.Number] == nil {
		return fmt.Errorf("placed without a history")
	}
	last := list[p.Shard.Number]
	for a, b := last.older, last; a != nil; a, b = a.older, a {
		if a.Index > b.Index || a.Epoch > b.Epoch || a.Version > b.Version {
			return fmt.Errorf("entry %d made it %d.%d after entry %d made it %d.%d", b.Index, b.Epoch, b.Version, a.Index, a.Epoch, a.Version)
		}
	}
	if last.Index > p.Changed || last.Epoch != p.Epoch || last.Version != p.Version || last.Status != p.Status || last.Primary != p.Primary || last.Node != p.Node {
		return fmt.Errorf("it is %s in %d.%d, led by %d, its history ends with %+v", p.Status, p.Epoch, p.Version, p.Primary, last.Change)
	}
	return nil
}

// EncodeHistory writes changes for DecodeHistory.
func EncodeHistory(changes []Change) []byte { return versioned(changes) }

// DecodeHistory reads what EncodeHistory wrote. It fails with CodeInvalid.
func DecodeHistory(b []byte) ([]Change, error) {
	var changes []Change
	if err := openVersioned(b, &changes); err != nil {
		return nil, err
	}
	return changes, nil
}
