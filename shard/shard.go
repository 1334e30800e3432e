// Package shard holds the nouns every other package shares: identifiers, positions in a shard's log, placements, the
// versioned map of a group, and the typed error callers branch on. It decides nothing but validity and imports no other
// package of this module.
//
// Every identifier is a type of its own, so that an epoch cannot be handed over where a log position is meant. Values are
// immutable once shared: whoever changes a View or a Placement makes a new one.
package shard

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// Limits on what users may name. Each is enforced by a Validate method and refused with CodeInvalid.
const (
	MaxNameLength   = 64     // bytes of a type, command, event, barrier, role or zone name
	MaxEntityLength = 512    // bytes of an entity id
	MaxShards       = 65_536 // shards of one entity type
	MaxReplicas     = 6      // copies beside the primary
	MaxPayload      = 1 << 20
)

// Autonomy is how long a primary of a journaled shard goes on confirming after its lease ran out, unless a node is told
// otherwise. All nodes of a group must agree on it: after a lease and that, whoever cannot reach the coordinator is silent.
const Autonomy = time.Minute

type (
	// GroupID is the UUID minted when a group is formed. A node of one group refuses every word from another.
	GroupID string
	// NodeID is the operator's name of a node: n1, n2.
	NodeID string
	// DirectoryID is the UUID minted with a data directory and kept in it. The same NodeID with another DirectoryID
	// is another machine: nothing the old one stored may be assumed to be there.
	DirectoryID string
	// MachineID names the machine a data directory is used on, so that a copied directory is noticed.
	MachineID string
	// SessionID names one life of one process. Raft mints it from a counter, so a higher one is always younger.
	SessionID uint64
	// CopyID names one directory's durable data of one shard. Raft mints it from a counter; it is never reused.
	CopyID uint64
	// Epoch rises with every change of a shard's primary and fences everything an older primary sends.
	Epoch uint64
	// ConfigVersion rises with every change of a shard's copies or write quorum inside an epoch.
	ConfigVersion uint64
	// LSN is a position in one shard's log. The first record is 1; 0 means none.
	LSN uint64
	// Seq counts the records of one entity. The first is 1.
	Seq uint64
	// TypeName names an entity type.
	TypeName string
	// EntityID names one entity of a type, in the user's words.
	EntityID string
	// Number counts the shards of a type from 0.
	Number uint32
	// Index is the position of an entry in the group's Raft log: the version of a View.
	Index uint64
)

// ID names a shard: one slice of one entity type. It prints as type/number.
type ID struct {
	Type   TypeName `cbor:"1,keyasint"`
	Number Number   `cbor:"2,keyasint"`
}

func (id ID) String() string {
	return string(id.Type) + "/" + strconv.FormatUint(uint64(id.Number), 10)
}

// Compare orders shards by type, then number.
func (id ID) Compare(other ID) int {
	if c := cmp.Compare(id.Type, other.Type); c != 0 {
		return c
	}
	return cmp.Compare(id.Number, other.Number)
}

// ParseID reads what ID.String wrote. It fails with CodeInvalid.
func ParseID(s string) (ID, error) {
	name, number, found := strings.Cut(s, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	if !found || err != nil || ValidName(name) != nil {
		return ID{}, Invalid("shard %q is not TYPE/NUMBER", s)
	}
	return ID{TypeName(name), Number(n)}, nil
}

// Of returns the shard number of an entity: xxhash64 of its id, modulo the number of shards. The function is part of the
// stored format: changing it would lose every entity, so golden values in the tests pin it.
func Of(entity EntityID, shards uint32) Number {
	return Number(xxhash.Sum64String(string(entity)) % uint64(shards))
}

// RequestID names one command of one session. Numbers of a session rise by one, so a retry is recognised wherever it
// arrives. The zero value means the command carries none.
type RequestID struct {
	Session SessionID `cbor:"1,keyasint"`
	Number  uint64    `cbor:"2,keyasint"`
}

// ValidName reports whether s may name a type, command, event, barrier, role or zone: a lower-case letter, then
// lower-case letters, digits, dot, dash or underscore, at most MaxNameLength bytes.
func ValidName(s string) error {
	if s == "" || len(s) > MaxNameLength {
		return Invalid("name %q must have 1 to %d characters", clip(s), MaxNameLength)
	}
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789._-", rune(c))) {
			return Invalid("name %q must start with a-z and hold only a-z, 0-9, dot, dash and underscore", s)
		}
	}
	return nil
}

// Validate reports whether the id may name an entity: valid UTF-8 without control characters, 1 to MaxEntityLength bytes.
func (id EntityID) Validate() error {
	if id == "" || len(id) > MaxEntityLength {
		return Invalid("entity id %q must have 1 to %d bytes", clip(string(id)), MaxEntityLength)
	}
	if !utf8.ValidString(string(id)) {
		return Invalid("entity id %q is not valid UTF-8", clip(string(id)))
	}
	for _, c := range string(id) {
		if c < ' ' || c == 0x7f {
			return Invalid("entity id %q has a control character", clip(string(id)))
		}
	}
	return nil
}

// Validate reports whether the id may name a node. The rule is that of ValidName, upper-case letters allowed.
func (id NodeID) Validate() error {
	if ValidName(strings.ToLower(string(id))) != nil {
		return Invalid("node id %q must start with a letter, hold letters, digits, dot, dash and underscore, at most %d", clip(string(id)), MaxNameLength)
	}
	return nil
}

func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:most], len(s))
}
