package region_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster/entity"
	"muster/journal"
	"muster/region"
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

// What the journal says of a copy as a whole rots, its shard among it. The copy is reported lost under the shard that the map gives it, and its data go
// when that does without it; one that the map does not name any more goes at once. While it stayed the journal would give back no space.
func TestCopyOfAnUnknownShardIsReplaced(t *testing.T) {
	for name, named := range map[string]bool{"the map names it": true, "the map does without it": false} {
		t.Run(name, func(t *testing.T) {
			c := define("counter", entityOptions(1, 2, 1)...)
			g := newGroup(t, 3, c)
			id, n := one("counter"), g.nodes[2]
			g.place(id, 0, 1, 2)
			g.await(id, shard.Active)
			leave := func() {
				g.edit(id, func(p *shard.Placement) { reconfigured(p, []shard.CopyID{p.Copies[0].ID, p.Copies[1].ID}) })
			}
			n.stop()
			n.rot(t, "counter") // that stands there alone
			if !named {
				leave()
			}
			next := g.overhear(t)
			n.start()
			if named {
				r := next()
				for r.Kind != shard.ReportLost { // the primary may have something to say, too
					r = next()
				}
				if r.Shard != id || r.Copy != g.placement(id).Copies[2].ID {
					t.Fatalf("reported %+v", r)
				}
				leave()
			}
			until(t, "its data are gone", func() bool { return len(n.journal.Copies()) == 0 })
		})
	}
}

// A region that closes has not looked whose copies are, so it removes none as nobody's.
func TestClosedRegionDisownsNothing(t *testing.T) {
	c := define("counter", entityOptions(1, 1, 0)...)
	g := newGroup(t, 2, c)
	id, n := one("counter"), g.nodes[1]
	g.place(id, 0, 1)
	g.await(id, shard.Active)
	n.stop()
	n.rot(t, "counter") // that stands there alone, in what the journal says of the copy
	n.stranger = func() {
		if err := n.region.Close(ctxFor(t)); err != nil {
			t.Error(err)
		}
		region.Disown(n.region)
	}
	n.start()
	n.stop()
	j, err := journal.Open(filepath.Join(n.dir, "journal"), journal.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if all := j.Copies(); len(all) != 1 || all[0].Damaged == nil {
		t.Errorf("the journal holds %+v, want its damaged copy", all)
	}
}
