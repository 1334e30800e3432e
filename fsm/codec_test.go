package fsm_test

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/barrier"
	"muster/fsm"
	"muster/shard"
)

// full returns one of each command with every field set, so that a field the encoding forgets is missed.
func full() []fsm.Command {
	id := shard.ID{Type: "orders", Number: 3}
	spec := shard.Spec{Name: "orders", Shards: 8, Replicas: 2, MinAcks: 1, AckTimeout: 5e9, Role: "data", Strategy: shard.Rendezvous}
	lossy := shard.Spec{Name: "readings", Shards: 4, Replicas: 2, AckTimeout: 5e9, LossyAfter: 30e9}
	yes := true
	return []fsm.Command{
		&fsm.Genesis{Group: "g1", Voters: []fsm.Founder{founder("n1"), founder("n2")}},
		&fsm.Register{Node: "n1", Directory: "d", Machine: "m", Addr: "a:1", Zone: "z", Roles: []string{"data"},
			Hosts: []shard.Spec{spec, {Name: "cache", Shards: 1, AckTimeout: 1, Volatile: true}, lossy}, Nonce: "x", LastSession: 4, Voter: true, Fenced: true, Lengths: fsm.Lengths{Lease: 2e9, Autonomy: 60e9}},
		&fsm.Renew{Items: []fsm.Renewal{{Session: 1, Number: 2, Lengths: fsm.Lengths{Lease: 2e9, Autonomy: 60e9}}, {Session: 3, Number: 1 << 60}}, Time: 1},
		&fsm.Expire{Session: 1, LastRenewal: 2},
		&fsm.Depart{Session: 1},
		&fsm.Place{Items: []fsm.Placing{{Shard: id, Epoch: 1, Version: 2, Nodes: []shard.NodeID{"n1", "n2"}}}},
		&fsm.CopyReady{Items: []fsm.CopyItem{{Shard: id, Copy: 4, Directory: "d"}}},
		&fsm.CopyLost{Items: []fsm.CopyItem{{Shard: id, Copy: 4, Directory: "d"}}},
		&fsm.BeginRecovery{Cause: shard.CauseAsked, Items: []fsm.Recovery{{Shard: id, Epoch: 1, Version: 2}}},
		&fsm.Elect{Items: []fsm.Election{{Shard: id, Epoch: 1, Version: 2, Copy: 4, Session: 5, Answered: []shard.CopyID{4, 6}, Base: shard.Position{Epoch: 1, LSN: 9}, Cut: 3}}},
		&fsm.Activate{Items: []fsm.Activation{{Shard: id, Epoch: 1, Version: 2, Session: 5}}},
		&fsm.RequireQuorum{Members: 3},
		&fsm.Arrive{Name: "start", Parties: 3, Participant: "a", Session: 1, Request: 2},
		&fsm.Withdraw{Name: "start", Participant: "a", Session: 1, Request: 2},
		&fsm.AddLearner{Items: []fsm.NewLearner{{Shard: id, Epoch: 1, Version: 2, Node: "n4", Replaces: 3}}},
		&fsm.DropLearner{Items: []fsm.LearnerItem{{Shard: id, Copy: 7}}},
		&fsm.Reconfig{Items: []fsm.Reconfiguration{{Shard: id, Epoch: 1, Version: 2, Session: 5, Copies: []shard.CopyID{4, 7}, WriteQuorum: 2}}},
		&fsm.Wish{Items: []fsm.Wishing{{Shard: id, Epoch: 1, Version: 2, To: 6}, {Shard: id, Node: "n2"}}},
		&fsm.HandOver{Items: []fsm.Handing{{Shard: id, Epoch: 1, Version: 2, Session: 5, To: 6}, {Shard: id, Node: "n2"}}},
		&fsm.Mark{Node: "n1", Cordoned: &yes, Draining: &yes, Maintenance: &yes, Until: 9, Ended: 8},
		&fsm.Leave{Session: 1},
		&fsm.Pause{On: true, Until: 9, Ended: 8},
		&fsm.Pin{Shard: id, Node: "n1"},
		&fsm.Remove{Node: "n1"},
		&fsm.Promote{Items: []fsm.Promotion{{Shard: id, Epoch: 1, Version: 2, Copy: 4, Base: shard.Position{Epoch: 1, LSN: 9}, Lossy: true, Kept: []shard.CopyID{6}}}},
		&fsm.Discard{Shard: id, Copy: 4},
		&fsm.Degrade{Items: []fsm.Degrading{{Shard: id, Epoch: 1, Version: 2, Floor: 1}}},
		&fsm.BeginAnew{Items: []fsm.Placing{{Shard: id, Epoch: 1, Version: 2, Nodes: []shard.NodeID{"n1", "n2"}}}},
		&fsm.RaiseVersion{To: fsm.Version},
	}
}

// TestRoundTrip walks the command table: each command comes back whole, alone and all in one entry.
func TestRoundTrip(t *testing.T) {
	commands := full()
	for i, name := range fsm.Names() {
		if i >= len(commands) || fsm.NameOf(commands[i]) != name {
			t.Fatalf("full has no %s at its place in the table", name)
		}
		if f := unset(reflect.ValueOf(commands[i]).Elem(), name); f != "" && !either[f] {
			t.Errorf("full leaves %s empty: its round trip shows nothing", f)
		}
		read, err := fsm.Decode(encode(t, commands[i]))
		if err != nil || !reflect.DeepEqual(read, commands[i:i+1]) {
			t.Errorf("%s: read %+v, %v", name, read, err)
		}
		if fault := fsm.Blank(name).Validate(); fault == nil && name != "require-quorum" && name != "pause" {
			t.Errorf("an empty %s is valid", name)
		}
	}
	read, err := fsm.Decode(encode(t, commands...))
	if err != nil || !reflect.DeepEqual(read, commands) {
		t.Errorf("all in one: %+v, %v", read, err)
	}
}

// either are fields that must be empty where another is set; full has an item of each kind.
var either = map[string]bool{"wish.Items.Node": true, "hand-over.Items.Node": true, "register.Hosts.LossyAfter": true}

// unset names a field that is zero, looking into the first element of lists.
func unset(v reflect.Value, path string) string {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := unset(v.Field(i), path+"."+v.Type().Field(i).Name); f != "" && !strings.HasSuffix(f, ".Volatile") {
				return f
			}
		}
	case reflect.Slice:
		if v.Len() == 0 {
			return path
		}
		return unset(v.Index(0), path)
	default:
		if v.IsZero() {
			return path
		}
	}
	return ""
}

// TestVerdictRoundTrip sends a verdict with every field over the wire.
func TestVerdictRoundTrip(t *testing.T) {
	fault := &shard.Error{Code: shard.CodeMoved, Outcome: shard.Unknown, Shard: shard.ID{Type: "t", Number: 1}, Epoch: 2, Node: "n", Addr: "a", Detail: "d"}
	for _, v := range []fsm.Verdict{
		{},
		{Fault: fault},
		{Faults: []*shard.Error{nil, fault, nil}},
		{Session: 7, Again: true},
		{Barrier: &barrier.Outcome{State: barrier.Released, Generation: 3, Parties: 2, Arrived: 2, Participants: []barrier.Participant{"a", "b"}}},
	} {
		b, err := fsm.EncodeVerdict(v)
		if err != nil {
			t.Fatal(err)
		}
		read, err := fsm.DecodeVerdict(b)
		if err != nil || !reflect.DeepEqual(read, v) {
			t.Errorf("%+v came back as %+v, %v", v, read, err)
		}
	}
}

// TestEntryLimits sees each limit of an entry refused when it is made and when it is met in the log.
func TestEntryLimits(t *testing.T) {
	many := make([]fsm.Command, fsm.MaxCommands+1)
	for i := range many {
		many[i] = &fsm.Depart{Session: 1}
	}
	items := &fsm.Renew{Items: make([]fsm.Renewal, fsm.MaxItems+1)}
	for what, commands := range map[string][]fsm.Command{"no command": nil, "too many commands": many, "too many items": {items}} {
		if _, err := fsm.Encode(commands...); err == nil {
			t.Errorf("%s: encoded", what)
		}
		g := formed(t)
		if result := g.apply(fsm.EncodeUnchecked(commands...)); result.Fault == nil {
			t.Errorf("%s: applied, %+v", what, result)
		}
	}
	g := formed(t)
	if result := g.apply(make([]byte, fsm.MaxEntry+1)); result.Fault == nil {
		t.Error("an entry beyond the limit was applied")
	}
}

// TestStateLimits fills what a state may hold of members, types and shards, and sees the next one refused as overload.
func TestStateLimits(t *testing.T) {
	b := fsm.SnapshotChanged(formed(t).state, func(d *shard.Delta, _ *shard.CopyID) {
		for i := len(d.Members); i < fsm.MaxMembers; i++ {
			d.Members = append(d.Members, shard.Member{ID: shard.NodeID(fmt.Sprintf("x%d", i)), Directory: shard.DirectoryID(fmt.Sprint(i))})
		}
	})
	crowded, err := fsm.Restore(b)
	if err != nil {
		t.Fatal(err)
	}
	register := func(s *fsm.State, node string, hosts ...shard.Spec) shard.Code {
		c := &fsm.Register{Node: shard.NodeID(node), Directory: "d", Machine: "m", Addr: "a:1", Nonce: "x", Hosts: hosts}
		_, result := fsm.Apply(s, s.Index()+1, fsm.EncodeUnchecked(c))
		return shard.CodeOf(result.Verdicts[0].Err())
	}
	admitted := func(commands ...fsm.Command) shard.Code {
		_, result := fsm.Apply(crowded, crowded.Index()+1, encode(t, commands...))
		for _, v := range result.Verdicts {
			if v.Fault != nil {
				return v.Fault.Code
			}
		}
		return ""
	}
	newcomer := func(node string) *fsm.Register {
		return &fsm.Register{Node: shard.NodeID(node), Directory: shard.DirectoryID("of-" + node), Machine: "m", Addr: "a:1", Nonce: "x"}
	}
	if got := admitted(&fsm.Remove{Node: "x7"}, newcomer("y1")); got != "" {
		t.Errorf("a member in the place of one that is removed: %q", got)
	}
	if got := admitted(&fsm.Remove{Node: "x7"}, newcomer("x7"), newcomer("y1")); got != shard.CodeOverloaded {
		t.Errorf("a member in the place of one that came back: %q", got)
	}
	var many, wide []shard.Spec
	for i := range fsm.MaxTypes {
		many = append(many, shard.Spec{Name: shard.TypeName(fmt.Sprintf("t%d", i)), Shards: 1, AckTimeout: 1})
	}
	for i := range fsm.MaxShards / shard.MaxShards {
		wide = append(wide, shard.Spec{Name: shard.TypeName(fmt.Sprintf("w%d", i)), Shards: shard.MaxShards, AckTimeout: 1})
	}
	for what, got := range map[string]shard.Code{
		"a member too many":    register(crowded, "n4"),
		"a type too many":      register(formed(t).state, "n4", many...),
		"two shards too many":  register(formed(t).state, "n4", wide...),
		"types beyond any one": register(formed(t).state, "n4", append(many, wide...)...),
	} {
		want := shard.CodeOverloaded
		if what == "types beyond any one" {
			want = shard.CodeInvalid
		}
		if got != want {
			t.Errorf("%s: %q", what, got)
		}
	}
	if got := register(formed(t).state, "n4", many[1:]...); got != "" {
		t.Errorf("as many types as there may be: %q", got)
	}
}

// TestRemovedDirectories removes more nodes than are remembered: the newest stay out, the oldest is a stranger again. Two
// entries that remove different nodes from the same state must not see each other's.
func TestRemovedDirectories(t *testing.T) {
	g := formed(t)
	register := func(node int) *fsm.Register {
		return &fsm.Register{Node: "x", Directory: shard.DirectoryID(fmt.Sprint("gone-", node)), Machine: "m", Addr: "a:1", Nonce: "x"}
	}
	var commands []fsm.Command
	for node := range fsm.MaxRemoved + 1 {
		session := g.state.View.LastSession + shard.SessionID(len(commands)/3) + 1
		commands = append(commands, register(node), &fsm.Depart{Session: session}, &fsm.Remove{Node: "x"})
		if len(commands)+3 > fsm.MaxCommands || node == fsm.MaxRemoved {
			next, result := fsm.Apply(g.state, g.state.Index()+1, encode(t, commands...))
			for _, v := range result.Verdicts {
				if v.Fault != nil {
					t.Fatal(v.Fault)
				}
			}
			g.state, commands = next, nil
		}
	}
	if _, err := fsm.Restore(g.state.Snapshot()); err != nil {
		t.Fatal(err)
	}
	admits := func(s *fsm.State, node int) shard.Code {
		_, result := fsm.Apply(s, s.Index()+1, encode(t, register(node)))
		return shard.CodeOf(result.Verdicts[0].Err())
	}
	if first, second, last := admits(g.state, 0), admits(g.state, 1), admits(g.state, fsm.MaxRemoved); first != "" || second != shard.CodeRemoved || last != shard.CodeRemoved {
		t.Errorf("the oldest %q, the next %q, the newest %q", first, second, last)
	}
	before := formed(t).state
	for node := range 3 { // leaves room behind the list that states share
		before, _ = fsm.Apply(before, before.Index()+1, encode(t, register(node), &fsm.Depart{Session: before.View.LastSession + 1}, &fsm.Remove{Node: "x"}))
	}
	branch := func(node int) *fsm.State {
		s, _ := fsm.Apply(before, before.Index()+1, encode(t, register(node), &fsm.Depart{Session: before.View.LastSession + 1}, &fsm.Remove{Node: "x"}))
		return s
	}
	one, other := branch(8), branch(9)
	if admits(one, 8) != shard.CodeRemoved || admits(one, 9) != "" || admits(other, 9) != shard.CodeRemoved || admits(other, 8) != "" {
		t.Error("one entry's removal shows in the state after another")
	}
}

// TestEntriesSayWhatTheyNeed: an entry is written in the lowest version that knows its commands, so that older nodes take part
// for as long as nobody uses what they do not know; a command of a younger kind in an entry of an older version is refused.
func TestEntriesSayWhatTheyNeed(t *testing.T) {
	join := func(s shard.Strategy, lossy time.Duration) []byte {
		hosts := []shard.Spec{{Name: "orders", Shards: 1, Replicas: 1, AckTimeout: 1, Strategy: s, LossyAfter: lossy}}
		return encode(t, &fsm.Register{Node: "n1", Directory: "d", Machine: "m", Addr: "a:1", Hosts: hosts, Nonce: "x"})
	}
	lasts := func(l fsm.Lengths) []byte {
		return encode(t, &fsm.Register{Node: "n1", Directory: "d", Machine: "m", Addr: "a:1", Nonce: "x", Lengths: l})
	}
	promote := func(lossy bool) []byte {
		return encode(t, &fsm.Promote{Items: []fsm.Promotion{{Shard: shard.ID{Type: "orders"}, Epoch: 1, Version: 1, Copy: 1, Lossy: lossy}}})
	}
	elect := func(cut shard.LSN) []byte {
		return encode(t, &fsm.Elect{Items: []fsm.Election{{Shard: shard.ID{Type: "orders"}, Epoch: 1, Version: 1, Copy: 1, Cut: cut}}})
	}
	renew := func(l fsm.Lengths) []byte {
		return encode(t, &fsm.Renew{Items: []fsm.Renewal{{Session: 1, Number: 1}, {Session: 2, Number: 1, Lengths: l}}})
	}
	for i, c := range []struct {
		entry []byte
		needs byte
	}{
		{join(shard.LeastLoaded, 0), 1}, {join(shard.Rendezvous, 0), 2}, {join(shard.LeastLoaded, 1), 3}, {join(shard.Rendezvous, 1), 3},
		{promote(false), 1}, {promote(true), 3}, {elect(0), 1}, {elect(2), 4},
		{renew(fsm.Lengths{}), 1}, {renew(fsm.Lengths{Lease: 1e9, Autonomy: 1e9}), 7}, {lasts(fsm.Lengths{}), 1}, {lasts(fsm.Lengths{Lease: 1e9, Autonomy: 1e9}), 7},
	} {
		if c.entry[0] != c.needs {
			t.Errorf("entry %d is of version %d, it needs %d", i, c.entry[0], c.needs)
		}
		if c.entry[0]--; c.needs > 1 {
			if _, err := fsm.Decode(c.entry); shard.CodeOf(err) != shard.CodeInvalid {
				t.Errorf("entry %d in an older version: %v", i, err)
			}
		}
	}
}

// TestUnreadableEntries meets entries that no one of this version wrote. Malformed ones change nothing but the index; one of a
// later version is not applied at all, and says so.
func TestUnreadableEntries(t *testing.T) {
	good := encode(t, &fsm.Depart{Session: 1})
	for what, entry := range map[string][]byte{
		"empty": {}, "version 0": {0, 0x80}, "only a version": {1}, "not a list": {1, 0xa0}, "cut short": good[:len(good)-1],
		"bytes left over": append(good[:len(good):len(good)], 0), "no command": {1, 0x80}, "unknown kind": {1, 0x81, 0xa2, 1, 0x18, 99, 2, 0xa0},
		"no body": {1, 0x81, 0xa1, 1, 5}, "null body": {1, 0x81, 0xa2, 1, 5, 2, 0xf6}, "unknown field": {1, 0x81, 0xa2, 1, 5, 2, 0xa1, 9, 1},
		"field twice": {1, 0x81, 0xa2, 1, 5, 2, 0xa2, 1, 1, 1, 2}, "a list that lies": {1, 0x9a, 0xff, 0xff, 0xff, 0xff},
	} {
		g := formed(t)
		before := g.state.View.Whole()
		result := g.apply(entry)
		before.Index++
		if shard.CodeOf(result.Fault) != shard.CodeInvalid || !reflect.DeepEqual(before, g.state.View.Whole()) {
			t.Errorf("%s: %+v", what, result)
		}
	}
	g := formed(t)
	next, result := fsm.Apply(g.state, g.state.Index()+1, []byte{fsm.Version + 1, 1, 2, 3})
	if !result.Newer || next != g.state {
		t.Errorf("an entry of a later version: %+v", result)
	}
	if next, result = fsm.Apply(g.state, g.state.Index(), good); result.Fault == nil || next != g.state {
		t.Errorf("an entry applied again: %+v", result)
	}
}

// TestDamagedSnapshot flips each bit and cuts at each byte of a snapshot: every one is noticed.
func TestDamagedSnapshot(t *testing.T) {
	b := formed(t).state.Snapshot()
	for i := range b {
		if _, err := fsm.Restore(b[:i]); err == nil {
			t.Errorf("restored from %d of %d bytes", i, len(b))
		}
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := fsm.Restore(b); err == nil {
				t.Errorf("restored with bit %d of byte %d flipped", bit, i)
			}
			b[i] ^= 1 << bit
		}
	}
	later := append([]byte(nil), b[:len(b)-sha256.Size]...)
	later[len("muster-fsm")]++
	if _, err := fsm.Restore(sealed(later)); shard.CodeOf(err) != shard.CodeInternal {
		t.Errorf("a snapshot of a later version: %v", err)
	}
}

// sealed adds the checksum that a snapshot ends with.
func sealed(content []byte) []byte {
	sum := sha256.Sum256(content)
	return append(content[:len(content):len(content)], sum[:]...)
}

// TestRestoreRefusesUnsound breaks one invariant after the other in a snapshot whose checksum is right.
func TestRestoreRefusesUnsound(t *testing.T) {
	type change = func(d *shard.Delta, lastCopy *shard.CopyID)
	for what, meddle := range map[string]change{
		"nothing":                       func(*shard.Delta, *shard.CopyID) {},
		"not a whole map":               func(d *shard.Delta, _ *shard.CopyID) { d.Reset = false },
		"no group":                      func(d *shard.Delta, _ *shard.CopyID) { d.Group = "" },
		"a copy not minted":             func(_ *shard.Delta, last *shard.CopyID) { *last = 2 },
		"a copy twice":                  func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Copies[1].ID = 3 },
		"two copies on a node":          func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Copies[1].Node = "n3" },
		"led by an ended session":       func(d *shard.Delta, _ *shard.CopyID) { d.Sessions = d.Sessions[1:] },
		"led by another node's session": func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Session, d.Placements[0].ActiveSession = 2, 2 },
		"a primary whose copy is lost":  func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Copies[0].State = shard.CopyLost },
		"a copy of no state":            func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Copies[1].State = 9 },
		"active with a minted copy":     func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Copies[1].State = shard.CopyMinted },
		"epoch 0":                       func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Epoch, d.Placements[0].ActiveEpoch = 0, 0 },
		"version 0":                     func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Version = 0 },
		"active before its epoch":       func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].ActiveEpoch = 2 },
		"changed in the future":         func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Changed = 99 },
		"another write quorum":          func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].WriteQuorum = 1 },
		"a shard out of range":          func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Shard.Number = 2 },
		"a directory twice":             func(d *shard.Delta, _ *shard.CopyID) { d.Members[0].Directory = "dir-n2" },
		"a life without a member":       func(d *shard.Delta, _ *shard.CopyID) { d.Members = d.Members[1:] },
		"a learner not minted": func(d *shard.Delta, _ *shard.CopyID) {
			d.Placements[0].Learners = []shard.Learner{{Copy: shard.Copy{ID: 9, Node: "n4", State: shard.CopyReady}}}
		},
		"a learner for nobody": func(d *shard.Delta, last *shard.CopyID) {
			*last, d.Members = 4, append(d.Members, shard.Member{ID: "n4", Directory: "d4"})
			d.Placements[0].Learners = []shard.Learner{{Copy: shard.Copy{ID: 4, Node: "n4", Directory: "d4", State: shard.CopyReady}, Replaces: 9}}
		},
		"a copy in another directory": func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Copies[1].Directory = "old" },
		"wished to a node that is down": func(d *shard.Delta, _ *shard.CopyID) {
			d.Placements[0].HandTo, d.Placements[0].HandNode, d.Sessions = 2, "n2", slices.Delete(d.Sessions, 1, 2)
		},
		"pinned to nobody":           func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Pinned = "n9" },
		"another epoch than history": func(d *shard.Delta, _ *shard.CopyID) { d.Placements[0].Epoch, d.Placements[0].ActiveEpoch = 2, 2 },
		"a shard without a history": func(d *shard.Delta, last *shard.CopyID) {
			*last = 6
			p := d.Placements[0]
			p.Shard.Number, p.Copies = 1, slices.Clone(p.Copies)
			for i := range p.Copies {
				p.Copies[i].ID = shard.CopyID(4 + i)
			}
			p.Primary, p.ActivePrimary = 4, 4
			d.Placements = append(d.Placements, p)
		},
		"a session from the future": func(d *shard.Delta, _ *shard.CopyID) { d.Sessions[0].ID = 9 },
		"too many shards":           func(d *shard.Delta, _ *shard.CopyID) { d.Types = slices.Repeat(d.Types, fsm.MaxTypes+1) },
	} {
		_, err := fsm.Restore(fsm.SnapshotChanged(formed(t).state, meddle))
		if (err == nil) != (what == "nothing") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestRestoreRefusesLengths has a snapshot hold lengths that no leader could wait for, or of sessions that have a life, or none yet.
func TestRestoreRefusesLengths(t *testing.T) {
	g := formed(t)
	good := fsm.Lengths{Lease: time.Second, Autonomy: time.Minute}
	if _, err := fsm.Encode(&fsm.Register{Node: "n1", Directory: "d", Machine: "m", Addr: "a:1", Nonce: "x", Lengths: fsm.Lengths{Lease: 1e9}}); shard.CodeOf(err) != shard.CodeInvalid {
		t.Errorf("a registration without an autonomy: %v", err)
	}
	again := &fsm.Register{Node: "n1", Directory: "dir-n1", Machine: "m", Addr: "n1:1", Nonce: "again", Fenced: true}
	g.apply(encode(t, again)) // the life of session 1 is forgotten
	for what, c := range map[string]struct {
		snapshot []byte
		sound    bool
	}{
		"said":            {fsm.SnapshotSaid(g.state, good), true},
		"no autonomy":     {fsm.SnapshotSaid(g.state, fsm.Lengths{Lease: time.Second}), false},
		"too long":        {fsm.SnapshotSaid(g.state, fsm.Lengths{Lease: fsm.MaxLease + 1, Autonomy: 1}), false},
		"gone":            {fsm.SnapshotGone(g.state, 1, good), true},
		"gone, of no use": {fsm.SnapshotGone(g.state, 1, fsm.Lengths{}), false},
		"gone and there":  {fsm.SnapshotGone(g.state, 2, good), false},
		"yet to come":     {fsm.SnapshotGone(g.state, 9, good), false},
	} {
		restored, err := fsm.Restore(c.snapshot)
		if (err == nil) != c.sound {
			t.Errorf("%s: %v", what, err)
		}
		if what == "gone" && err == nil {
			if l, said := restored.Lengths(1); !said || l != good {
				t.Errorf("the lengths of the session that is gone are %+v", l)
			}
		}
	}
}

// TestDeltaRefuses reads deltas that are no deltas, or that hold a placement no state could have.
func TestDeltaRefuses(t *testing.T) {
	bad := fsm.EncodeDelta(&shard.Delta{Index: 1, Placements: []shard.Placement{{Status: shard.Active}}})[0]
	for what, b := range map[string][]byte{"empty": {}, "other version": {9, 0xa0}, "cut short": bad[:len(bad)-1], "impossible placement": bad} {
		if d, err := fsm.DecodeDelta(b); shard.CodeOf(err) != shard.CodeInvalid {
			t.Errorf("%s: %+v, %v", what, d, err)
		}
	}
}

// TestRoundsRoundTrip sends the open barriers over the wire.
func TestRoundsRoundTrip(t *testing.T) {
	g := formed(t)
	g.apply(encode(t, &fsm.Arrive{Name: "start", Parties: 3, Participant: "a", Session: 1, Request: 2}))
	read, err := fsm.DecodeRounds(fsm.EncodeRounds(g.state.Barriers.Open()))
	if err != nil || !reflect.DeepEqual(read, g.state.Barriers.Open()) || len(read) != 2 {
		t.Errorf("read %+v, %v", read, err)
	}
}

// formed returns a group of three nodes with an active shard and somebody in a barrier.
func formed(t testing.TB) *group {
	g := newGroup(t)
	orders := shard.Spec{Name: "orders", Shards: 2, Replicas: 2, MinAcks: 1, AckTimeout: 1}
	id := shard.ID{Type: "orders"}
	commands := []fsm.Command{&fsm.Genesis{Group: "g", Voters: []fsm.Founder{founder("n1"), founder("n2"), founder("n3")}}}
	for _, n := range []string{"n1", "n2", "n3"} {
		commands = append(commands, &fsm.Register{Node: shard.NodeID(n), Directory: shard.DirectoryID("dir-" + n), Machine: "m",
			Addr: n + ":1", Nonce: n, Hosts: []shard.Spec{orders}})
	}
	commands = append(commands,
		&fsm.Place{Items: []fsm.Placing{{Shard: id, Nodes: []shard.NodeID{"n1", "n2", "n3"}}}},
		&fsm.CopyReady{Items: []fsm.CopyItem{{Shard: id, Copy: 1, Directory: "dir-n1"}, {Shard: id, Copy: 2, Directory: "dir-n2"}, {Shard: id, Copy: 3, Directory: "dir-n3"}}},
		&fsm.Activate{Items: []fsm.Activation{{Shard: id, Epoch: 1, Version: 1, Session: 1}}},
		&fsm.Arrive{Name: "gate", Parties: 2, Session: 2, Request: 1})
	if result := g.apply(encode(t, commands...)); result.Fault != nil || g.state.View.Placement(id).Status != shard.Active {
		t.Fatalf("%+v", result)
	}
	return g
}

// What Encode takes every node can read: one caller's words must not refuse what others have in the same entry.
func TestWhatEncodesDecodes(t *testing.T) {
	entry, err := fsm.Encode(&fsm.Arrive{Name: "b", Parties: 2, Participant: "\xff", Session: 1, Request: 1}, &fsm.RequireQuorum{Members: 1})
	if err == nil {
		_, err = fsm.Decode(entry)
		t.Errorf("a participant that is no text was encoded; read back: %v", err)
	}
}
