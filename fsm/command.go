package fsm

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"muster/shard"
)

// Limits of one Raft entry. Encode refuses what is beyond them, and so does every node that meets such an entry.
const (
	MaxEntry    = 4 << 20 // bytes
	MaxCommands = 1_024   // commands of one entry
	MaxItems    = 16_384  // items of one batched command
)

// Version is the newest entry format this build reads. An entry is written in the lowest version that knows its commands.
//
// A command that gains a field, or a new command, needs a higher version: a node that would skip what it does not know
// would hold another state than its peers, so it must stop instead. A command with fields of several versions says which one it
// needs, see younger.
//
// Version 2: a type may have a strategy (Register). Version 3: a type may accept loss (Register, Promote), and a shard be
// begun anew. Version 4: an election may say what it leaves out (Elect). Version 5: the group has a version (RaiseVersion), and from
// then on a process confirms that its directory was set back (Register). Version 6: the end of a maintenance outlives a restart, and
// no two members that are up have one address (Register), without a field more. Version 7: a session says how long it acts by itself (Register, Renew).
const Version = 7

// Command is one change to the replicated state. The set is closed: see the table below. A Command is plain data; what it
// does is decided when it is applied, by the state it meets there.
type Command interface {
	// Validate reports what is wrong with the command whatever the state. Encode calls it, and so does every node on apply.
	Validate() *shard.Error
	apply(d *draft) Verdict
}

// younger is a command with fields that came later than itself.
type younger interface {
	needs() byte // the lowest version that knows all it says
}

// row is one line of the command table.
type row struct {
	kind  uint64 // in the stored format; never reused
	name  string
	since byte // the entry version that brought it
	blank func() Command
}

var table = []row{
	{1, "genesis", 1, func() Command { return &Genesis{} }},
	{2, "register", 1, func() Command { return &Register{} }},
	{3, "renew", 1, func() Command { return &Renew{} }},
	{4, "expire", 1, func() Command { return &Expire{} }},
	{5, "depart", 1, func() Command { return &Depart{} }},
	{6, "place", 1, func() Command { return &Place{} }},
	{7, "copy-ready", 1, func() Command { return &CopyReady{} }},
	{8, "copy-lost", 1, func() Command { return &CopyLost{} }},
	{9, "begin-recovery", 1, func() Command { return &BeginRecovery{} }},
	{10, "elect", 1, func() Command { return &Elect{} }},
	{11, "activate", 1, func() Command { return &Activate{} }},
	{12, "require-quorum", 1, func() Command { return &RequireQuorum{} }},
	{13, "arrive", 1, func() Command { return &Arrive{} }},
	{14, "withdraw", 1, func() Command { return &Withdraw{} }},
	{15, "add-learner", 1, func() Command { return &AddLearner{} }},
	{16, "drop-learner", 1, func() Command { return &DropLearner{} }},
	{17, "reconfig", 1, func() Command { return &Reconfig{} }},
	{18, "wish", 1, func() Command { return &Wish{} }},
	{19, "hand-over", 1, func() Command { return &HandOver{} }},
	{20, "mark", 1, func() Command { return &Mark{} }},
	{21, "leave", 1, func() Command { return &Leave{} }},
	{22, "pause", 1, func() Command { return &Pause{} }},
	{23, "pin", 1, func() Command { return &Pin{} }},
	{24, "remove", 1, func() Command { return &Remove{} }},
	{25, "promote", 1, func() Command { return &Promote{} }},
	{26, "discard", 1, func() Command { return &Discard{} }},
	{27, "degrade", 1, func() Command { return &Degrade{} }},
	{28, "begin-anew", 3, func() Command { return &BeginAnew{} }},
	{29, "raise-version", RaiseSince, func() Command { return &RaiseVersion{} }},
}

// Names returns the name of every command, in the order of the table.
func Names() []string {
	names := make([]string, len(table))
	for i, r := range table {
		names[i] = r.name
	}
	return names
}

// Blank returns an empty command of that name, nil when there is none.
func Blank(name string) Command {
	for _, r := range table {
		if r.name == name {
			return r.blank()
		}
	}
	return nil
}

// NameOf returns the command's name in the table.
func NameOf(c Command) string { return rowOf(c).name }

func rowOf(c Command) row {
	for _, r := range table {
		if reflect.TypeOf(r.blank()) == reflect.TypeOf(c) {
			return r
		}
	}
	panic(fmt.Sprintf("fsm: command %T is not in the table", c))
}

// envelope is a command in an entry.
type envelope struct {
	Kind uint64          `cbor:"1,keyasint"`
	Body cbor.RawMessage `cbor:"2,keyasint"`
}

// Encode makes one Raft entry of the commands, which will be applied in this order, each with its own verdict. It fails
// with a *shard.Error: CodeInvalid for a command that can never succeed, CodeOverloaded beyond a limit.
func Encode(commands ...Command) ([]byte, error) {
	if len(commands) == 0 || len(commands) > MaxCommands {
		return nil, shard.Errorf(shard.CodeOverloaded, "an entry holds 1 to %d commands, not %d", MaxCommands, len(commands))
	}
	version := byte(1)
	envelopes := make([]envelope, len(commands))
	for i, c := range commands {
		if fault := c.Validate(); fault != nil {
			return nil, fault
		}
		body, err := encoding.Marshal(c)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", NameOf(c), err)
		}
		r := rowOf(c)
		version = max(version, r.since)
		if y, ok := c.(younger); ok {
			version = max(version, y.needs())
		}
		envelopes[i] = envelope{r.kind, body}
	}
	body, err := encoding.Marshal(envelopes)
	if err != nil {
		return nil, fmt.Errorf("encode entry: %w", err)
	}
	if len(body)+1 > MaxEntry {
		return nil, shard.Errorf(shard.CodeOverloaded, "an entry holds at most %d bytes, not %d", MaxEntry, len(body)+1)
	}
	return append([]byte{version}, body...), nil
}

// Decode reads what Encode wrote, without validating the commands. It fails with CodeInvalid on anything else; see Newer
// for entries of a later version.
func Decode(entry []byte) ([]Command, error) {
	commands, fault := decode(entry)
	if fault != nil {
		return nil, fault
	}
	return commands, nil
}

// Newer reports whether the entry was written by a later version of this program.
func Newer(entry []byte) bool { return len(entry) > 0 && entry[0] > Version }

func decode(entry []byte) ([]Command, *shard.Error) {
	switch {
	case len(entry) > MaxEntry:
		return nil, shard.Errorf(shard.CodeInvalid, "entry of %d bytes, the limit is %d", len(entry), MaxEntry)
	case len(entry) == 0 || entry[0] == 0 || Newer(entry):
		return nil, shard.Errorf(shard.CodeInvalid, "entry without a version this node knows")
	}
	var envelopes []envelope
	if err := strict.Unmarshal(entry[1:], &envelopes); err != nil {
		return nil, shard.Errorf(shard.CodeInvalid, "entry cannot be read: %v", err)
	}
	if len(envelopes) == 0 || len(envelopes) > MaxCommands {
		return nil, shard.Errorf(shard.CodeInvalid, "entry of %d commands, must be 1 to %d", len(envelopes), MaxCommands)
	}
	commands := make([]Command, len(envelopes))
	for i, e := range envelopes {
		c, fault := e.open(entry[0])
		if fault != nil {
			return nil, fault
		}
		commands[i] = c
	}
	return commands, nil
}

func (e envelope) open(version byte) (Command, *shard.Error) {
	for _, r := range table {
		if r.kind != e.Kind || r.since > version {
			continue
		}
		c := r.blank()
		if len(e.Body) == 0 || bytes.Equal(e.Body, null) {
			return nil, shard.Errorf(shard.CodeInvalid, "command %s without a body", r.name)
		}
		if err := strict.Unmarshal(e.Body, c); err != nil {
			return nil, shard.Errorf(shard.CodeInvalid, "command %s cannot be read: %v", r.name, err)
		}
		if y, ok := c.(younger); ok && y.needs() > version {
			return nil, shard.Errorf(shard.CodeInvalid, "command %s says what version %d does not know", r.name, version)
		}
		return c, nil
	}
	return nil, shard.Errorf(shard.CodeInvalid, "unknown command %d in an entry of version %d", e.Kind, version)
}
