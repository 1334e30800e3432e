package fsm_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"muster/fsm"
	"muster/shard"
)

// TestHistoryForgetsTheOldest changes one shard far more often than its history is long, on a node that lives through all of
// it, on one that is restored from a snapshot at each step, and beside a state that keeps being read. Histories end with
// what happened last, are as long as they may be and no longer, are the same bytes on both nodes, and what an older state
// told it goes on telling.
func TestHistoryForgetsTheOldest(t *testing.T) {
	g := formed(t)
	id := shard.ID{Type: "orders"}
	early := g.state
	told := early.History(id)
	if len(told) != 3 || early.History(shard.ID{Type: "orders", Number: 1}) != nil || early.History(shard.ID{Type: "orders", Number: 9}) != nil ||
		early.History(shard.ID{Type: "none"}) != nil {
		t.Fatalf("the history of a new shard: %+v", told)
	}
	restored := g.state
	for i := range 5 * fsm.MaxHistory {
		node := shard.NodeID(fmt.Sprintf("n%d", 1+i%2))
		entry := encode(t, &fsm.Pin{Shard: id, Node: node})
		index := g.state.Index() + 1
		g.apply(entry)
		again, err := fsm.Restore(restored.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		if restored, _ = fsm.Apply(again, index, entry); !bytes.Equal(restored.Snapshot(), g.state.Snapshot()) {
			t.Fatalf("after %d changes the restored node holds other bytes", i+1)
		}
		past := g.state.History(id)
		if last := past[len(past)-1]; last.Index != index || last.Cause != shard.CausePinned || len(past) != min(fsm.MaxHistory, 4+i) {
			t.Fatalf("after %d changes the history has %d and ends with %+v", i+1, len(past), last)
		}
		for k := 1; k < len(past); k++ {
			if past[k].Index > 1 && past[k].Index != past[k-1].Index+1 {
				t.Fatalf("change %d follows %d", past[k].Index, past[k-1].Index)
			}
		}
	}
	if !reflect.DeepEqual(early.History(id), told) {
		t.Errorf("an older state tells %+v, not %+v", early.History(id), told)
	}
}

// TestHistoryBranches applies two different entries to one state: neither history may show what the other did.
func TestHistoryBranches(t *testing.T) {
	g := formed(t)
	id := shard.ID{Type: "orders"}
	for _, node := range []shard.NodeID{"n1", "n2"} {
		g.apply(encode(t, &fsm.Pin{Shard: id, Node: node}))
	}
	one, _ := fsm.Apply(g.state, g.state.Index()+1, encode(t, &fsm.Pin{Shard: id}))
	other, _ := fsm.Apply(g.state, g.state.Index()+1, encode(t, &fsm.CopyLost{Items: []fsm.CopyItem{{Shard: id, Copy: 1, Directory: "dir-n1"}}}))
	a, b := one.History(id), other.History(id)
	if a[len(a)-1].Cause != shard.CausePinned || b[len(b)-1].Cause != shard.CauseAsked || len(a) != len(b) || len(g.state.History(id)) != len(a)-1 {
		t.Errorf("%+v\n%+v", a, b)
	}
	if read, err := fsm.DecodeHistory(fsm.EncodeHistory(b)); err != nil || !reflect.DeepEqual(read, b) {
		t.Errorf("over the wire: %+v, %v", read, err)
	}
	if _, err := fsm.DecodeHistory([]byte{9}); shard.CodeOf(err) != shard.CodeInvalid {
		t.Errorf("a later version: %v", err)
	}
}

// TestManyShardsRememberLess registers a type of more shards than may each have a whole history.
func TestManyShardsRememberLess(t *testing.T) {
	g := formed(t)
	id := shard.ID{Type: "orders"}
	for i := range fsm.MaxHistory {
		g.apply(encode(t, &fsm.Pin{Shard: id, Node: shard.NodeID(fmt.Sprintf("n%d", 1+i%2))}))
	}
	hosts := []shard.Spec{{Name: "orders", Shards: 2, Replicas: 2, MinAcks: 1, AckTimeout: 1}, {Name: "wide", Shards: shard.MaxShards, AckTimeout: 1}}
	g.apply(encode(t, &fsm.Register{Node: "n1", Directory: "dir-n1", Machine: "m", Addr: "n1:1", Nonce: "n1", Hosts: hosts}))
	want := fsm.MaxChanges / (shard.MaxShards + 2)
	if past := g.state.History(id); len(past) != want || past[want-1].Cause != shard.CausePinned {
		t.Errorf("%d changes are remembered, not %d", len(past), want)
	}
}

// TestWholeMapsComeInParts sends a map that is too large for one message, and streams of parts that are no map.
func TestWholeMapsComeInParts(t *testing.T) {
	g := formed(t)
	hosts := []shard.Spec{{Name: "orders", Shards: 2, Replicas: 2, MinAcks: 1, AckTimeout: 1}, {Name: "many", Shards: 10_000, AckTimeout: 1}}
	place := &fsm.Place{}
	for n := range 10_000 {
		place.Items = append(place.Items, fsm.Placing{Shard: shard.ID{Type: "many", Number: shard.Number(n)}, Nodes: []shard.NodeID{"n1"}})
	}
	g.apply(encode(t, &fsm.Register{Node: "n1", Directory: "dir-n1", Machine: "m", Addr: "n1:1", Nonce: "n1", Hosts: hosts}, place))
	messages := fsm.PartsOf(g.state.View.Whole(), 1<<16)
	if len(messages) != 20 {
		t.Fatalf("10,001 placements in %d messages", len(messages))
	}
	if few, more := fsm.EncodeDelta(g.state.View.Whole()), fsm.EncodeParts(g.state.View.Whole()); len(few) != 1 || !reflect.DeepEqual(more, messages) {
		t.Errorf("one message holds the map: without parts it is in %d, with parts in %d", len(few), len(more))
	}
	var parts fsm.Parts
	var whole *shard.Delta
	for range 2 { // the same stream goes on with another map
		for i, m := range messages {
			d, err := parts.Take(m)
			if err != nil || (d != nil) != (i == len(messages)-1) {
				t.Fatalf("part %d: %v, %v", i+1, d != nil, err)
			}
			whole = d
		}
	}
	if view, err := shard.NewView().With(whole); err != nil || !reflect.DeepEqual(view.Whole(), g.state.View.Whole()) {
		t.Errorf("the map of the parts is another: %v", err)
	}
	later := fsm.EncodeDelta(&shard.Delta{Index: g.state.Index() + 1})[0]
	bad := fsm.EncodeDelta(&shard.Delta{Index: g.state.Index(), Placements: []shard.Placement{{Status: shard.Active}}})[0]
	for what, stream := range map[string][][]byte{
		"begun twice": {messages[0], messages[0]}, "another entry": {messages[0], later}, "unreadable": {{9}}, "impossible placement": {messages[0], bad},
	} {
		var parts fsm.Parts
		var err error
		for _, m := range stream {
			_, err = parts.Take(m)
		}
		if shard.CodeOf(err) != shard.CodeInvalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, part := range [][][]byte{nil, messages[:1], append(slices.Clone(messages), messages[0])} {
		if _, err := fsm.DecodeDelta(part...); shard.CodeOf(err) != shard.CodeInvalid {
			t.Errorf("%d of %d messages pass for a map: %v", len(part), len(messages), err)
		}
	}
}
