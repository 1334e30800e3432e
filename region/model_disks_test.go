package region_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"muster/journal"
	"muster/shard"
)

// kill ends a node's process in the middle of whatever it does: what had not reached its file is gone.
func (m *model) kill() {
	i := m.random.IntN(modelNodes)
	n := m.g.nodes[i]
	left := m.crash(i)
	if err := os.WriteFile(n.file(), left, 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.start(i)
}

// crash ends a node's process like that, and returns what is in its journal's file.
func (m *model) crash(i int) []byte {
	n := m.g.nodes[i]
	n.turn(false)
	m.lives[i].Load().killed.Store(true)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	n.wires.close(true)
	n.port.Close(gone) // from here on nobody hears of it
	left := photographed(m, n.file())
	n.turn(true)
	n.stop()
	n.wires.close(false)
	return left
}

func (n *node) file() string { return filepath.Join(n.dir, "journal") }

// photographed is a journal's file as a process that is killed now leaves it. What is read is whole unless two transactions have ended
// meanwhile: one alone writes to pages that the one before does not need.
func photographed(m *model, path string) []byte {
	for range 100 {
		before := transaction(m, path)
		b, err := os.ReadFile(path)
		if err != nil {
			m.t.Fatal(err)
		}
		if transaction(m, path) <= before+1 {
			return b
		}
	}
	m.t.Fatal("the journal cannot be copied: it is written to all the time")
	return nil
}

// transaction is the number of the newest one that the file's two meta pages show.
func transaction(m *model, path string) (newest uint64) {
	f, err := os.Open(path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	for at := range int64(2) {
		var b [8]byte
		if _, err := f.ReadAt(b[:], at*int64(os.Getpagesize())+64); err != nil {
			m.t.Fatal(err)
		}
		newest = max(newest, binary.NativeEndian.Uint64(b[:]))
	}
	return newest
}

// wipe ends a node's process and takes its disk away, as long as the other copies of each shard suffice to go on: what was confirmed is there.
func (m *model) wipe() {
	i := m.random.IntN(modelNodes)
	n := m.g.nodes[i]
	if !m.dispensable(n) {
		return
	}
	m.crash(i)
	m.clear(n.file())
	if m.random.IntN(2) == 0 { // another directory: the group knows by its name that the old one is gone
		gone := n.directory
		m.wipes++
		n.directory = shard.DirectoryID(fmt.Sprintf("dir-%s-%d", n.id, m.wipes))
		m.lose(func(c shard.Copy) bool { return c.Directory == gone })
		m.start(i)
		return
	}
	m.start(i) // it says itself that it has them no more
	m.missed(n)
}

// clear removes a file, if it is there.
func (m *model) clear(path string) {
	if err := os.Remove(path); err != nil {
		m.t.Fatal(err)
	}
}

// fill has a node's disk refuse writes: its journal stops for good, and is whole when the node is started again.
func (m *model) fill() {
	i := m.random.IntN(modelNodes)
	if m.spoil(i, m.g.nodes[i].file(), os.O_RDONLY) {
		m.t.Error("a write that was refused is taken for a failed sync")
	}
}

// damageSync has a sync of a node's journal fail. What that has written proves nothing, so its next start sets the file aside.
func (m *model) damageSync() {
	i := m.random.IntN(modelNodes)
	n := m.g.nodes[i]
	if m.dispensable(n) && m.spoil(i, os.DevNull, os.O_RDWR) {
		m.missed(n)
	}
}

// spoil puts another file in the place of the journal's open one, restarts the node when its journal has stopped, and reports whether that was
// marked as one whose sync failed. It knows only how that is done on Linux.
func (m *model) spoil(i int, by string, flag int) (marked bool) {
	n := m.g.nodes[i]
	if runtime.GOOS != "linux" {
		return false
	}
	replaceOpen(m, n.file(), by, flag)
	m.holds(2*time.Second, func() bool {
		select {
		case <-n.journal.Failed():
			n.broken = true
			return true
		default:
			return false
		}
	})
	m.progress(int64(m.random.IntN(20)), 200*time.Millisecond, nil)
	n.stop()
	why, err := journal.Marked(n.file())
	if err != nil {
		m.t.Fatal(err)
	}
	n.broken = false
	m.start(i)
	return why != ""
}

// replaceOpen makes the descriptor of an open file one of another: what is mapped is read as before, writes and syncs go there.
func replaceOpen(m *model, path, by string, flag int) {
	f, err := os.OpenFile(by, flag, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, one := range all {
		fd, err := strconv.Atoi(one.Name())
		if to, _ := os.Readlink("/proc/self/fd/" + one.Name()); err != nil || to != path || fd == int(f.Fd()) {
			continue
		}
		if err := unix.Dup2(int(f.Fd()), fd); err != nil {
			m.t.Fatal(err)
		}
		return
	}
	m.t.Fatalf("%s is not open", path)
}

// dispensable reports whether every shard can do without a node's disk: the copies elsewhere suffice to elect a primary, and to write.
func (m *model) dispensable(n *node) bool {
	for i := range m.durable.Spec().Shards {
		p := m.g.placement(shard.ID{Type: "durable", Number: shard.Number(i)})
		if _, has := p.CopyOn(n.directory); has && present(p, n) < max(p.RecoveryQuorum(), p.WriteQuorum) {
			return false
		}
	}
	return true
}

// present counts the copies in C whose data are there, but for those of a node.
func present(p *shard.Placement, but *node) (n int) {
	for _, c := range p.Copies {
		if c.State != shard.CopyLost && (but == nil || c.Directory != but.directory) {
			n++
		}
	}
	return n
}

// lose notes in the map that copies are gone.
func (m *model) lose(gone func(shard.Copy) bool) {
	for i := range m.durable.Spec().Shards {
		m.g.edit(shard.ID{Type: "durable", Number: shard.Number(i)}, func(p *shard.Placement) { lost(p, gone) })
	}
}

// missed waits until a node has said of each copy that its directory does not hold it.
func (m *model) missed(n *node) {
	for i := range m.durable.Spec().Shards {
		id := shard.ID{Type: "durable", Number: shard.Number(i)}
		until(m.t, "the node says what it has lost", func() bool {
			p := m.g.placement(id)
			c, has := p.CopyOn(n.directory)
			return !has || c.State == shard.CopyLost
		})
	}
}
