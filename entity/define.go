package entity

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync/atomic" //lint:pure a type is declared in package variables and frozen by whichever node starts first
	"time"

	"muster/shard"
)

// DefaultSnapshotEvery is how many events an entity records between two snapshots of its state.
const DefaultSnapshotEvery = 100

// A Definition is an entity type without its Go types: what a node needs to host it. Only Define makes them. Safe for
// concurrent use.
type Definition interface {
	// Spec is what the group agrees on about the type.
	Spec() shard.Spec
	// SnapshotEvery is the number of an entity's records after which its state is snapshotted, 0 for never.
	SnapshotEvery() int
	// LeasedReads reports whether an owner whose lease runs answers reads without asking other copies.
	LeasedReads() bool
	// Commands names the commands the type handles, sorted.
	Commands() []string
	// NewCell returns the entity in its initial state.
	NewCell(id ID) *Cell

	freeze()
}

// A Type is an entity type whose state is an S. The zero S is the state of an entity nothing happened to yet.
type Type[S any] struct {
	settings
	state    form[S]
	events   map[string]func(*S, []byte) error
	commands map[string]func(*Context[S], []byte) ([]byte, error)
	frozen   atomic.Bool
}

type settings struct {
	spec      shard.Spec
	snapshots int
	confirmed bool // reads wait for other copies
	codec     Codec
	states    Codec // for snapshots; nil means codec
}

// An Option changes one setting of a type.
type Option func(*settings)

// Shards sets how many shards the type's entities are spread over; 64 by default, at most shard.MaxShards. It can never
// be changed for a type that exists.
func Shards(n int) Option {
	return func(s *settings) { s.spec.Shards = uint32(min(max(n, 0), shard.MaxShards+1)) }
}

// Replicate keeps copies of every event on other nodes. Before an event is confirmed, the entity's node and minAcks of
// the replicas hold it durably; it survives the loss of any minAcks nodes. Without a confirmation in ackTimeout (0 means
// 5 s) the caller learns that the outcome is unknown. The default is no replicas; 2 and 1 suit data one cares about.
func Replicate(replicas, minAcks int, ackTimeout time.Duration) Option {
	return func(s *settings) {
		s.spec.Replicas, s.spec.MinAcks, s.spec.AckTimeout = replicas, minAcks, ackTimeout
		if ackTimeout == 0 {
			s.spec.AckTimeout = shard.DefaultAckTimeout
		}
	}
}

// LossyFailover lets a shard go on without copies that stay away, and without an operator: that long after the lease of the
// primary that is gone, the longest log among the copies that are there goes on, and whatever only the others hold is given up,
// although it was confirmed. It needs Replicate with minAcks 0, where a confirmation waits for no replica; without it such a shard
// waits for its primary's disk. What comes back later is kept aside whole: "muster aside" lists it.
//
// The price on the other side: a primary that loses the coordinator stops confirming after that long, where others go on for
// shard.Autonomy. So it should be well above the time that a change of Raft's leader takes, which is about 2 s.
func LossyFailover(after time.Duration) Option {
	return func(s *settings) {
		if s.spec.LossyAfter = after; after == 0 {
			s.spec.LossyAfter = -1 // refused: 0 is what says that there is none
		}
	}
}

// SnapshotEvery takes a snapshot of an entity's state after that many of its records, 0 for never; 100 by default.
func SnapshotEvery(records int) Option { return func(s *settings) { s.snapshots = records } }

// ConfirmedReads has every command that records nothing, a read or a refusal, wait until min_acks other copies have answered that no
// other primary was elected since it came. By default the owner's lease is enough for that while it runs, which takes no message,
// and rests on clocks: that none is more than 1 % faster than another, and that none stands still while a virtual machine is paused,
// moved or restored. It is a matter of each node, so all should say the same.
func ConfirmedReads() Option { return func(s *settings) { s.confirmed = true } }

// Volatile keeps the entities in memory only: no journal, no copies. When their node dies they start anew elsewhere.
func Volatile() Option { return func(s *settings) { s.spec.Volatile = true } }

// Role lets only members of that role host the type.
func Role(name string) Option { return func(s *settings) { s.spec.Role = name } }

// Allocate sets how the group decides where the type's shards go; shard.LeastLoaded by default. It is part of the registered
// type: all nodes must say the same.
func Allocate(strategy shard.Strategy) Option {
	return func(s *settings) { s.spec.Strategy = strategy }
}

// Encoding sets the codec of the type's commands, replies, events and snapshots; JSON by default.
func Encoding(c Codec) Option { return func(s *settings) { s.codec = c } }

// SnapshotEncoding sets another codec for snapshots of the state than for messages.
func SnapshotEncoding(c Codec) Option { return func(s *settings) { s.states = c } }

// Define makes an entity type. It panics when the name or an option is invalid, as the mistake is in the program.
func Define[S any](name string, options ...Option) *Type[S] {
	s := settings{codec: JSON, snapshots: DefaultSnapshotEvery}
	s.spec = shard.Spec{Name: shard.TypeName(name), Shards: shard.DefaultShards, AckTimeout: shard.DefaultAckTimeout}
	for _, o := range options {
		o(&s)
	}
	if s.states == nil {
		s.states = s.codec
	}
	if err := s.validate(); err != nil {
		panic(fmt.Sprintf("entity.Define(%q): %v", name, err))
	}
	state, err := formOf[S](s.states)
	if err != nil && s.snapshots > 0 {
		panic(fmt.Sprintf("entity.Define(%q): state: %v; SnapshotEvery(0) does without snapshots", name, err))
	}
	return &Type[S]{
		settings: s, state: state,
		events:   map[string]func(*S, []byte) error{},
		commands: map[string]func(*Context[S], []byte) ([]byte, error){},
	}
}

func (s *settings) validate() error {
	if s.codec == nil || s.states == nil {
		return shard.Invalid("the codec is nil")
	}
	if s.snapshots < 0 {
		return shard.Invalid("snapshot every %d records, must be 0 or more", s.snapshots)
	}
	if s.spec.Volatile {
		if s.confirmed {
			return shard.Invalid("a volatile type has no copies that could confirm its reads")
		}
		s.snapshots = 0
	}
	return s.spec.Validate()
}

// Name returns the type's name.
func (t *Type[S]) Name() shard.TypeName { return t.spec.Name }

// Spec returns what the group agrees on about the type.
func (t *Type[S]) Spec() shard.Spec { return t.spec }

// SnapshotEvery returns the number of an entity's records after which its state is snapshotted, 0 for never.
func (t *Type[S]) SnapshotEvery() int { return t.snapshots }

// LeasedReads reports whether an owner whose lease runs answers reads without asking other copies.
func (t *Type[S]) LeasedReads() bool { return !t.confirmed }

// Commands names the commands the type handles, sorted.
func (t *Type[S]) Commands() []string { return slices.Sorted(maps.Keys(t.commands)) }

// Events names the events the type folds, sorted.
func (t *Type[S]) Events() []string { return slices.Sorted(maps.Keys(t.events)) }

// NewCell returns the entity in its initial state.
func (t *Type[S]) NewCell(id ID) *Cell {
	t.freeze()
	c := &cell[S]{typ: t}
	c.id, c.body, c.volatile = id, c, t.spec.Volatile
	return &c.Cell
}

func (t *Type[S]) freeze() {
	if !t.frozen.Load() {
		t.frozen.Store(true)
	}
}

// register guards what On and Handle add, so that a mistake shows where it was made.
func (t *Type[S]) register(verb, name string, taken bool) string {
	where := fmt.Sprintf("entity.%s(%s, %q)", verb, t.spec.Name, name)
	if err := shard.ValidName(name); err != nil {
		panic(fmt.Sprintf("%s: %v", where, err))
	}
	if taken {
		panic(where + ": the name is taken")
	}
	if t.frozen.Load() {
		panic(where + ": the type is in use already; declare its events and commands in package variables")
	}
	return where
}

func mustForm[T any](where string, c Codec) form[T] {
	f, err := formOf[T](c)
	if err != nil {
		panic(fmt.Sprintf("%s: %s: %v", where, reflect.TypeFor[T](), err))
	}
	return f
}

// Types lists definitions for a node's configuration and freezes them.
func Types(types ...Definition) []Definition {
	for _, t := range types {
		if t != nil { // Validate says so
			t.freeze()
		}
	}
	return types
}

// Validate reports every name that is defined twice in the list. Everything else was checked by Define.
func Validate(types []Definition) []error {
	var faults []error
	seen := map[shard.TypeName]bool{}
	for i, t := range types {
		switch {
		case t == nil:
			faults = append(faults, shard.Invalid("entity type number %d is nil", i+1))
		case seen[t.Spec().Name]:
			faults = append(faults, shard.Invalid("entity type %s is listed twice", t.Spec().Name))
		default:
			seen[t.Spec().Name] = true
		}
	}
	return faults
}
