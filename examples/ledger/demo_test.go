package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 60 * time.Second

// The processes of a group are this test binary, told by the environment to be the program itself.
func TestMain(m *testing.M) {
	if os.Getenv("LEDGER_TEST_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

// program prepares the program as a process with temporary directories of its own.
func program(t *testing.T, args ...string) (cmd *exec.Cmd, temp string) {
	t.Helper()
	temp = t.TempDir()
	cmd = exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "LEDGER_TEST_PROGRAM=yes", "TMPDIR="+temp)
	return cmd, temp
}

// Three processes, a kill of the Raft leader half-way, and not a hundredth is missing; the file of balances is that of the
// independent sums, and nothing is left behind.
func TestDemo(t *testing.T) {
	out := filepath.Join(t.TempDir(), "balances")
	cmd, temp := program(t, "demo", "--kill", "-o", "json", "--out", out)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var p report
	if err := json.Unmarshal(stdout.Bytes(), &p); err != nil {
		t.Fatalf("%v\n%s", err, stdout.String())
	}
	if p.Lost != 0 || p.Doubled != 0 || len(p.Different) != 0 || p.Transactions != defaultRows {
		t.Errorf("%+v", p)
	}
	if p.Killed == nil || p.Killed.Primaries == 0 || p.Killed.After < defaultRows/2 || p.GapMax < 100 {
		t.Errorf("the kill cannot be seen: %+v, %+v", p.Killed, p)
	}
	t.Logf("%.0f events/s, p50 %.1f ms, p99 %.1f ms, without service %.0f ms, %+v", p.PerSecond, p.P50, p.P99, p.GapMax, *p.Killed)
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	postings, err := readFile("")
	if err != nil {
		t.Fatal(err)
	}
	want := sums(postings)
	lines := strings.Split(strings.TrimSpace(string(got)), "\n")
	if len(lines) != len(want) {
		t.Errorf("%d balances of %d accounts", len(lines), len(want))
	}
	last := int64(0)
	for _, l := range lines {
		var id, balance int64
		if _, err := fmt.Sscanf(l, "%d %d", &id, &balance); err != nil || id <= last || want[id].Balance != balance {
			t.Errorf("line %q, balance should be %d: %v", l, want[id].Balance, err)
		}
		last = id
	}
	empty(t, temp)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

var serving = regexp.MustCompile(`serves at (\S+), process (\d+)`)

// begun starts a demo and returns when it posts, with the addresses and processes of its nodes.
func begun(t *testing.T) (demo *exec.Cmd, temp string, addrs []string, pids []int) {
	t.Helper()
	demo, temp = program(t, "demo", "--callers", "1")
	stderr, err := demo.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "posting") {
	}
	logs, _ := filepath.Glob(filepath.Join(temp, "ledger-*", "*.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range serving.FindAllStringSubmatch(string(text), -1) {
			pid := 0
			fmt.Sscan(m[2], &pid)
			addrs, pids = append(addrs, m[1]), append(pids, pid)
		}
	}
	if len(addrs) != 3 {
		t.Fatalf("nodes at %v", addrs)
	}
	return demo, temp, addrs, pids
}

// gone waits until nobody listens at the addresses.
func gone(t *testing.T, addrs []string) {
	t.Helper()
	for _, addr := range addrs {
		deadline := time.Now().Add(patience)
		for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				break
			}
			c.Close()
			if time.Now().After(deadline) {
				t.Fatalf("%s still answers", addr)
			}
		}
	}
}

// Ctrl-C half-way: no process and no file stays, and the exit code says that it was not done.
func TestInterrupted(t *testing.T) {
	demo, temp, addrs, _ := begun(t)
	if err := demo.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	demo.Wait()
	if code := demo.ProcessState.ExitCode(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	gone(t, addrs)
	empty(t, temp)
}

// The demo itself is killed and can clean nothing up: its nodes end all the same.
func TestOrphans(t *testing.T) {
	demo, _, addrs, _ := begun(t)
	if err := demo.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	demo.Wait()
	gone(t, addrs)
}

// A node that ends by itself ends the demo, which says so.
func TestNodeDies(t *testing.T) {
	demo, temp, addrs, pids := begun(t)
	if err := syscall.Kill(pids[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	demo.Wait()
	if code := demo.ProcessState.ExitCode(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	gone(t, addrs)
	empty(t, temp)
}

// What was typed wrong is said in a line, with exit code 2, before anything starts.
func TestMisuse(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "ledger VERB"},
		{"dance", "ledger VERB"},
		{"demo extra", `unexpected argument "extra"`},
		{"demo --nodes x", "invalid value"},
		{"demo --nodes 0", "--nodes 0"},
		{"demo --replicas 3", "takes 4 nodes"},
		{"demo --replicas 1 --min-acks 2", "--min-acks 2"},
		{"demo --shards 0", "--shards 0"},
		{"demo --callers 0", "--callers 0"},
		{"demo --kill=n4", "n1 to n3"},
		{"demo -o xml", "table or json"},
		{"demo --input none.csv", "none.csv"},
		{"serve", "dir is empty"},
		{"generate --rows 3 --accounts 4", "accounts 1 to rows"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), strings.Fields(c.args), &out, &errs)
		if code != exitMisuse || !strings.Contains(errs.String(), c.want) {
			t.Errorf("ledger %s: exit %d, %s\nwant %s", c.args, code, errs.String(), c.want)
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &out, &errs); code != exitDone || !strings.Contains(out.String(), "ledger demo") {
		t.Errorf("help: exit %d, %s", code, out.String())
	}
}
