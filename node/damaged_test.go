package node_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster/entity"
	"muster/journal"
	"muster/node"
)

// A node whose journal is damaged as a whole does not start, and says what can be done. That is done: its copies are made anew from others, and
// nothing is missing.
func TestAJournalThatIsDamagedAsAWhole(t *testing.T) {
	c := newCluster(t, 3, entity.Types(accounts)...)
	c.start()
	c.ready()
	if _, err := Deposit.Ask(c.context(), c.nodes[0], "alice", Amount{7}); err != nil {
		t.Fatal(err)
	}
	c.kill(2)
	file := filepath.Join(c.configs[2].Dir, "journal.db")
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, 1<<18), 1<<14); err != nil { // behind the roots
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var damaged *journal.DamagedError
	_, err = node.Start(c.context(), c.configs[2])
	if !errors.As(err, &damaged) || !strings.Contains(err.Error(), "move it out of the directory, keep it, and start the node again") {
		t.Fatalf("%v", err)
	}
	if err := os.Rename(file, filepath.Join(t.TempDir(), "kept.db")); err != nil {
		t.Fatal(err)
	}
	c.start(2)
	c.ready()
	if got, err := Deposit.Ask(c.context(), c.nodes[2], "alice", Amount{1}); err != nil || got.Amount != 8 {
		t.Errorf("%+v, %v", got, err)
	}
}
