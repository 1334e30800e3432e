package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/shard"
)

// A verb that was interrupted claims that nothing was done only if that is known, in words and in the document.
func TestInterruptedIsHonest(t *testing.T) {
	for _, c := range []struct {
		err     error
		text    string
		unknown bool
	}{
		{shard.Unknownf(shard.CodeTimeout, "no answer"), "interrupted: before there was an answer [outcome unknown]", true},
		{shard.Errorf(shard.CodeTimeout, "nothing was sent"), "interrupted: before there was an answer", false},
		{errors.Join(unsure("who knows"), shard.Errorf(shard.CodeConflict, "no")), "interrupted: who knows [outcome unknown]; conflict: no", true},
		{interrupted("nothing was changed"), "interrupted: nothing was changed", false},
	} {
		f := failureOf(cut(c.err))
		if f.Text != c.text || f.Unknown != c.unknown || f.Exit != exitInterrupted || f.Code != "interrupted" {
			t.Errorf("%v: %+v", c.err, f)
		}
	}
}

// The directory that is given may have any name.
func TestJournalsOfAnOddDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d[1]*", "n1")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, journalName)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if files, err := journalsOf(dir); err != nil || !slices.Equal(files, []string{file}) {
		t.Errorf("%v, %v", files, err)
	}
	if _, err := journalsOf(filepath.Dir(dir)); err == nil || !strings.Contains(err.Error(), "but these do: "+dir) {
		t.Errorf("%v", err)
	}
}

// Of the faults of several journals the worst decides on the code, whichever came first, and all are said.
func TestTheWorstOfSeveralJournalsDecides(t *testing.T) {
	damaged, inUse, none := errors.New("1 of 2 copies are damaged"), shard.Errorf(shard.CodeInUse, "in use"), misusef("no journal")
	for _, c := range []struct {
		faults []error
		exit   int
		code   string
	}{
		{[]error{nil, nil}, exitDone, "failed"},
		{[]error{none, inUse, nil, damaged}, exitFailed, "failed"},
		{[]error{inUse, damaged}, exitFailed, "failed"},
		{[]error{none, inUse}, exitRefused, "id-in-use"},
		{[]error{nil, none}, exitMisuse, "misuse"},
	} {
		err := worstOf(c.faults)
		if exitCode(err) != c.exit {
			t.Errorf("%v: exit code %d, want %d", c.faults, exitCode(err), c.exit)
		}
		if err == nil {
			continue
		}
		if f := failureOf(err); f.Code != c.code || f.Exit != c.exit {
			t.Errorf("%v: %+v", c.faults, f)
		}
		for _, fault := range c.faults {
			if fault != nil && !strings.Contains(sentence(err), fault.Error()) {
				t.Errorf("%q does not say %q", sentence(err), fault)
			}
		}
	}
}
