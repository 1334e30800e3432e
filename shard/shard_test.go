package shard_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"muster/shard"
)

// The hash decides where every entity's events are stored, so these values may never change: a difference here means
// that an upgraded node would look for old entities in the wrong shards.
func TestOfIsPinnedForEver(t *testing.T) {
	for _, golden := range []struct {
		entity shard.EntityID
		shards uint32
		want   shard.Number
	}{
		{"alice", 64, 9}, {"bob", 64, 59}, {"account-1", 64, 27}, {"2378", 64, 18}, {"ž", 64, 50}, {"alice", 1, 0}, {"alice", 65_536, 24_649},
	} {
		if got := shard.Of(golden.entity, golden.shards); got != golden.want {
			t.Errorf("Of(%q, %d) = %d, pinned %d", golden.entity, golden.shards, got, golden.want)
		}
	}
}

func TestNamesAndIDsAreChecked(t *testing.T) {
	for name, ok := range map[string]bool{
		"account": true, "a": true, "a-b_c.d9": true, "": false, "9a": false, "Account": false, "a b": false, "ž": false,
		"a/b": false, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false,
	} {
		if err := shard.ValidName(name); (err == nil) != ok {
			t.Errorf("ValidName(%q) = %v", name, err)
		}
	}
	for id, ok := range map[shard.EntityID]bool{
		"alice": true, "účet 7": true, "": false, "a\x00b": false, "a\nb": false, "\xff": false,
		shard.EntityID(strings.Repeat("a", 512)): true, shard.EntityID(strings.Repeat("a", 64<<10)): false,
	} {
		err := id.Validate()
		if (err == nil) != ok || (err != nil && shard.CodeOf(err) != shard.CodeInvalid) {
			t.Errorf("Validate(%.20q) = %v", id, err)
		}
	}
	for text, ok := range map[string]bool{"account/7": true, "account": false, "account/": false, "account/-1": false, "account/4294967296": false, "/1": false} {
		id, err := shard.ParseID(text)
		if (err == nil) != ok || (ok && id.String() != text) {
			t.Errorf("ParseID(%q) = %v, %v", text, id, err)
		}
	}
}

// A history answers which epoch wrote a record, and survives truncation without touching a shared array.
func TestHistoryFollowsTheLog(t *testing.T) {
	var h shard.History
	for lsn, epoch := range []shard.Epoch{1, 1, 3, 3, 4} {
		h = h.Extend(shard.Position{Epoch: epoch, LSN: shard.LSN(lsn + 1)})
	}
	for lsn, want := range []shard.Epoch{0, 1, 1, 3, 3, 4} {
		if got := h.At(shard.LSN(lsn)); got != want {
			t.Errorf("At(%d) = %d, want %d", lsn, got, want)
		}
	}
	cut := h.Truncate(4)
	grown := cut.Extend(shard.Position{Epoch: 9, LSN: 4})
	if len(cut) != 2 || cut.At(3) != 3 || grown.At(4) != 9 || h.At(5) != 4 {
		t.Errorf("history %v, cut %v, grown %v", h, cut, grown)
	}
	for _, c := range []struct {
		base shard.Position
		want shard.History
	}{
		{shard.Position{}, h},
		{shard.Position{Epoch: 1, LSN: 2}, shard.History{{Epoch: 1, First: 2}, {Epoch: 3, First: 3}, {Epoch: 4, First: 5}}},
		{shard.Position{Epoch: 3, LSN: 3}, shard.History{{Epoch: 3, First: 3}, {Epoch: 4, First: 5}}},
		{shard.Position{Epoch: 3, LSN: 4}, shard.History{{Epoch: 3, First: 4}, {Epoch: 4, First: 5}}},
		{shard.Position{Epoch: 4, LSN: 5}, shard.History{{Epoch: 4, First: 5}}},
		{shard.Position{Epoch: 7, LSN: 90}, shard.History{{Epoch: 7, First: 90}}},
	} {
		if got := h.After(c.base); !slices.Equal(got, c.want) || h.At(2) != 1 {
			t.Errorf("After(%s) = %v, want %v", c.base, got, c.want)
		}
	}
	if (shard.Position{Epoch: 2, LSN: 1}).Compare(shard.Position{Epoch: 1, LSN: 100}) <= 0 {
		t.Error("a longer log of an older epoch must not win")
	}
}

func TestErrorsAreMatchedByCode(t *testing.T) {
	err := error(&shard.Error{Code: shard.CodeMoved, Shard: shard.ID{Type: "account", Number: 7}, Epoch: 3, Node: "n2", Detail: "ask n2"})
	if !errors.Is(err, &shard.Error{Code: shard.CodeMoved}) || errors.Is(err, &shard.Error{Code: shard.CodeTimeout}) {
		t.Errorf("%v matches by the wrong code", err)
	}
	if got := err.Error(); got != "moved (account/7, epoch 3): ask n2" {
		t.Errorf("text %q", got)
	}
	if e := shard.As(errors.New("disk on fire")); e.Code != shard.CodeInternal || e.Outcome != shard.Unknown {
		t.Errorf("a foreign error became %v: it must not claim that nothing was applied", e)
	}
	if shard.As(nil) != nil || shard.CodeOf(nil) != "" {
		t.Error("no error has a code")
	}
}
