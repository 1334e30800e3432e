package journal_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

const (
	killCopies = 4
	killSize   = 300
	rewrite    = 17 // every so many records a copy takes the last few back and writes them again, one epoch higher
)

// child is this test binary as a process of its own.
func child(role string) int {
	path, delay := os.Getenv("JOURNAL_TEST_PATH"), time.Duration(0)
	if os.Getenv("JOURNAL_TEST_SLOW") != "" {
		delay = 8 * time.Millisecond
	}
	j, err := journal.Open(path, journal.Options{SyncDelay: delay})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("open")
	switch role {
	case "load":
		load(j)
	case "compact":
		compact(j)
	case "hold":
		io.Copy(io.Discard, os.Stdin)
	case "write":
		fmt.Println("answer:", wait(func(done func(error)) { j.Write(1, &replication.Write{Promise: 7}, done) }))
		fmt.Println("close:", j.Close())
	}
	return 0
}

// load writes for ever to all copies and prints what was acknowledged: copy, epoch, last LSN.
func load(j *journal.Journal) {
	var out sync.Mutex
	var all sync.WaitGroup
	for c := shard.CopyID(1); c <= killCopies; c++ {
		all.Go(func() {
			if err := wait(func(done func(error)) { j.Create(shardOf(c), c, done) }); err != nil {
				panic(err)
			}
			for step := shard.LSN(1); ; step++ {
				w := killWrite(c, step)
				last := w.Records[len(w.Records)-1].Position
				if err := wait(func(done func(error)) { j.Write(c, &w, done) }); err != nil {
					panic(err)
				}
				out.Lock()
				fmt.Println(uint64(c), uint64(step), last)
				out.Unlock()
			}
		})
	}
	all.Wait()
}

// compact does everything for ever to all copies, as TestModel does, and prints how many steps each has behind it.
func compact(j *journal.Journal) {
	journal.Hurry(j)
	var out sync.Mutex
	var all sync.WaitGroup
	for c := shard.CopyID(1); c <= killCopies; c++ {
		all.Go(func() {
			w := newWorld(uint64(c), c, 1)
			w.j = j
			for n := 1; ; n++ {
				w.step()
				if err := w.settle(); err != nil {
					panic(err)
				}
				out.Lock()
				fmt.Println(uint64(c), n)
				out.Unlock()
			}
		})
	}
	all.Wait()
}

// killWrite is what a copy writes in a step. It depends on nothing else, so the parent can tell what must be there. Steps add
// two records each; every rewrite-th step takes the last two back and writes them again with one more.
func killWrite(c shard.CopyID, step shard.LSN) replication.Write {
	epoch := shard.Epoch(1 + step/rewrite)
	rewrites := step / rewrite
	last := 2*step - rewrites // each rewriting step adds one instead of two
	if step%rewrite == 0 {
		return replication.Write{Truncate: last - 2, Records: records(c, epoch, last-2, last, killSize)}
	}
	return replication.Write{Records: records(c, epoch, last-1, last, killSize)}
}

func start(t *testing.T, role, path string, env ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, "JOURNAL_TEST_CHILD="+role, "JOURNAL_TEST_PATH="+path)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	_, err = cmd.StdinPipe() // stays open as long as the child is wanted
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

// A process is killed in the middle of a load of appends and rewrites, several times over the same file; each time the
// reopened journal holds exactly what was acknowledged, or that and the one write that was under way, never half of one.
func TestKilled(t *testing.T) {
	for _, slow := range []string{"", "yes"} {
		t.Run("slow="+slow, func(t *testing.T) {
			for round := range 3 {
				path := filepath.Join(t.TempDir(), "journal.db")
				cmd, out := start(t, "load", path, "JOURNAL_TEST_SLOW="+slow)
				acked := map[shard.CopyID]shard.LSN{}
				for n := 0; out.Scan(); n++ {
					var c, step uint64
					if _, err := fmt.Sscan(out.Text(), &c, &step); err == nil {
						acked[shard.CopyID(c)] = shard.LSN(step)
					}
					if n == 300+57*round {
						must(t, cmd.Process.Kill())
					}
				}
				cmd.Wait()
				checkKilled(t, path, acked)
			}
		})
	}
}

// A process is killed in the middle of logs that are cut, snapshots that are staged and installed, and space that is given
// back: each copy is what it was after its last answered step, or after the next.
func TestKilledCompacting(t *testing.T) {
	for _, slow := range []string{"", "yes"} {
		t.Run("slow="+slow, func(t *testing.T) {
			for round := range 4 {
				path := filepath.Join(t.TempDir(), "journal.db")
				cmd, out := start(t, "compact", path, "JOURNAL_TEST_SLOW="+slow)
				acked := map[shard.CopyID]int{}
				for n := 0; out.Scan(); n++ {
					var c, step uint64
					if _, err := fmt.Sscan(out.Text(), &c, &step); err == nil {
						acked[shard.CopyID(c)] = int(step)
					}
					if n == 500+211*round {
						must(t, cmd.Process.Kill())
					}
				}
				cmd.Wait()
				checkKilledCompacting(t, path, acked)
			}
		})
	}
}

func checkKilledCompacting(t *testing.T, path string, acked map[shard.CopyID]int) {
	t.Helper()
	j := open(t, path, journal.Options{})
	if _, err := journal.CheckSpace(j); err != nil {
		t.Error(err)
	}
	for c, steps := range acked {
		w := newWorld(uint64(c), c, 1)
		for range steps {
			w.step()
		}
		before := w.differs(j)
		if before == nil {
			continue
		}
		w.step()
		if after := w.differs(j); after != nil {
			t.Errorf("copy %d is neither what it was after %d steps, for %v, nor after one more, for %v", c, steps, before, after)
		}
	}
	must(t, j.Close())
}

func checkKilled(t *testing.T, path string, acked map[shard.CopyID]shard.LSN) {
	t.Helper()
	j := open(t, path, journal.Options{})
	defer j.Close()
	for c, steps := range acked {
		if s := state(t, j, c); s.Damaged != nil {
			t.Fatal(s.Damaged)
		}
		var log []replication.Record
		apply := func(step shard.LSN) {
			w := killWrite(c, step)
			if w.Truncate > 0 {
				log = log[:w.Truncate-1]
			}
			log = append(log, w.Records...)
		}
		for step := shard.LSN(1); step <= steps; step++ {
			apply(step)
		}
		got := contents(t, j, c)
		if len(got) != len(log) {
			apply(steps + 1)
		}
		same(t, got, log)
	}
}

// While another process has the file, Open waits two seconds and refuses; when that one is killed, it opens.
func TestSecondProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	cmd, out := start(t, "hold", path)
	if !out.Scan() || out.Text() != "open" {
		t.Fatalf("the holder said %q", out.Text())
	}
	for _, o := range []journal.Options{{}, {ReadOnly: true}} {
		_, err := journal.Open(path, o)
		wantError(t, err, path, "in use by another process")
		if !errors.Is(err, journal.ErrInUse) {
			t.Error(err)
		}
	}
	must(t, cmd.Process.Kill())
	cmd.Wait()
	open(t, path, journal.Options{})
}

// Read-only: several may look at once, nobody writes, and a file that is missing is not made.
func TestReadOnly(t *testing.T) {
	path, want := filled(t)
	must(t, os.Chmod(path, 0o400))
	a, b := open(t, path, journal.Options{ReadOnly: true}), open(t, path, journal.Options{ReadOnly: true})
	same(t, contents(t, a, 1), want[1])
	same(t, contents(t, b, 2), want[2])
	if err := wait(func(done func(error)) { a.Create(shardOf(5), 5, done) }); !errors.Is(err, journal.ErrReadOnly) {
		t.Errorf("create: %v", err)
	}
	missing := filepath.Join(t.TempDir(), "none.db")
	if _, err := journal.Open(missing, journal.Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	must(t, a.Close())
	must(t, b.Close())
	if os.Geteuid() == 0 {
		t.Log("NOT TESTED: a file without write permission, because root may write it")
		return
	}
	if _, err := journal.Open(path, journal.Options{}); !errors.Is(err, os.ErrPermission) {
		t.Errorf("a file without write permission: %v", err)
	}
}

// The kernel itself fails: fdatasync with EIO leaves the mark, pwrite with ENOSPC does not, and neither is acknowledged.
func TestKernelFaults(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("NOT TESTED: faults of the kernel, because strace is not installed")
	}
	for _, c := range []struct {
		call, errno string
		marked      bool
	}{{"fdatasync", "EIO", true}, {"pwrite64", "ENOSPC", false}} {
		t.Run(c.call, func(t *testing.T) {
			path, want := filled(t)
			cmd := exec.Command("strace", "-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"),
				"-e", "trace="+c.call, "-e", "inject="+c.call+":error="+c.errno, os.Args[0])
			cmd.Env = append(os.Environ(), "JOURNAL_TEST_CHILD=write", "JOURNAL_TEST_PATH="+path)
			out, err := cmd.CombinedOutput()
			if strings.Contains(string(out), "ptrace") {
				t.Skipf("NOT TESTED: faults of the kernel, because tracing is not allowed here: %s", out)
			}
			if err != nil || !strings.Contains(string(out), "answer: journal") {
				t.Fatalf("%v: %s", err, out)
			}
			if _, err := os.Stat(path + ".failed-sync"); (err == nil) != c.marked {
				t.Errorf("mark: %v; %s", err, out)
			}
			j := open(t, path, journal.Options{})
			if c.marked {
				if len(j.Copies()) != 0 {
					t.Errorf("copies: %+v", j.Copies())
				}
				return
			}
			same(t, contents(t, j, 1), want[1])
			same(t, contents(t, j, 2), want[2])
		})
	}
}
