package region_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster/entity"
	"muster/shard"
)

// rot has a name rot wherever it stands in the node's journal, while that is open.
func (n *node) rot(t *testing.T, name entity.ID) {
	t.Helper()
	path := filepath.Join(n.dir, "journal")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := 0
	for at := 0; ; found++ {
		i := bytes.Index(file[at:], []byte(name))
		if i < 0 {
			break
		}
		if _, err := f.WriteAt([]byte(strings.ToUpper(string(name))), int64(at+i)); err != nil {
			t.Fatal(err)
		}
		at += i + 1
	}
	if found == 0 {
		t.Fatalf("%s is not in the journal", name)
	}
}

// A primary that nobody writes to finds rot when it brings a new copy up to date, in its log or beside it. It is reported as lost, though nothing
// is written any more: else the new copy waits for what cannot be read, and the shard goes on with its rotten one.
func TestRotFoundBySendingIsReported(t *testing.T) {
	for where, written := range map[string]int{"log": 3, "apart": 5 * shortLog} {
		t.Run(where, func(t *testing.T) {
			c := define("counter", entityOptions(1, 2, 0)...)
			g := newGroup(t, 2, c)
			id, n := one("counter"), g.nodes[0]
			g.place(id, 0)
			g.await(id, shard.Active)
			rots := entity.ID("an entity whose record rots")
			if _, err := c.add.Ask(ctxFor(t), n.region, rots, 1); err != nil {
				t.Fatal(err)
			}
			many(t, c, n, 1, written)
			if where == "apart" {
				g.shortened(id, shard.LSN(written)/2, n)
			}
			n.stop()
			n.start() // nothing of the log is in memory
			g.recover(id)
			g.await(id, shard.Active)
			n.rot(t, rots)
			lost := g.seen(shard.ReportLost)
			g.learn(id, g.nodes[1], nil)
			until(t, "the rotten copy is reported", func() bool {
				select {
				case <-lost:
					return true
				default:
					return false
				}
			})
			if h := hosted(t, n, id); h.Role != "damaged" {
				t.Errorf("the rotten copy: %+v", h)
			}
		})
	}
}
