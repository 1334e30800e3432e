package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	measure "muster/internal/load"
)

// The scripts run this test's own binary as muster: the real main, in processes of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"muster": main})
}

// patience bounds every wait of the scripts.
const patience = 30 * time.Second

// TestScripts runs the transcripts in testdata/cli. Beside testscript's own, they have these commands:
//
//	launch NAME ARG...   run "muster ARG..." in the background
//	await NAME...        wait for each one's first line of output; a JSON line sets the variables NAME_addr, NAME_dir
//	start NAME ARG...    launch and await
//	says NAME RE         wait until what it wrote to stderr matches
//	signal NAME SIGNAL   send TERM, INT or KILL and wait for the end; TERM and INT must end it with code 0, or with "!" with another
//	ended NAME CODE      check the code that it ended with after a signal
//	exits CODE ARG...    run "muster ARG..." and check its exit code; then stdout and stderr can be looked at
//	eventually RE ARG... repeat "muster ARG..." until it succeeds with output that matches, line by line
//	certify NAME URI...  write NAME.pem and NAME.key with that identity, and ca.pem of their authority
//	ports NAME...        set each variable to a free address on loopback
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "../../testdata/cli",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"launch": launch, "await": await, "start": start, "says": says, "signal": signalCmd, "ended": ended, "exits": exits, "eventually": eventually, "ports": ports, "certify": certify,
		},
		Setup: func(e *testscript.Env) error {
			e.Values[processes{}] = map[string]*process{}
			return nil
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

type processes struct{}

type process struct {
	cmd    *exec.Cmd
	first  chan string // its first line of output, once
	exited chan error
	log    *safeBuffer
}

// safeBuffer collects what a process logs while it runs.
type safeBuffer struct {
	mu struct {
		sync.Mutex
		bytes.Buffer
	}
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.String()
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	launch(ts, neg, args)
	await(ts, neg, args[:1])
}

func launch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: launch NAME ARG...")
	}
	name, args := args[0], args[1:]
	path, err := exec.LookPath("muster")
	ts.Check(err)
	p := &process{cmd: exec.Command(path, args...), first: make(chan string, 1), exited: make(chan error, 1), log: &safeBuffer{}}
	p.cmd.Dir, p.cmd.Stderr = ts.Getenv("WORK"), p.log
	p.cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "TMPDIR=" + ts.Getenv("TMPDIR"), "HOME=" + ts.Getenv("HOME")}
	p.cmd.SysProcAttr = measure.Attached()
	out, err := p.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	go func() {
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		p.first <- line
		io.Copy(io.Discard, r)
		p.exited <- p.cmd.Wait()
	}()
	ts.Defer(func() {
		p.cmd.Process.Kill()
		ts.Logf("log of %s:\n%s", name, p.log)
	})
	ts.Value(processes{}).(map[string]*process)[name] = p
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		p := running(ts, name)
		select {
		case line := <-p.first:
			if neg || line == "" {
				ts.Fatalf("%s was ready with %q: %s", name, line, p.log)
			}
			ready(ts, name, line)
		case <-time.After(patience):
			ts.Fatalf("%s is not ready after %s: %s", name, patience, p.log)
		}
	}
}

func running(ts *testscript.TestScript, name string) *process {
	p := ts.Value(processes{}).(map[string]*process)[name]
	if p == nil {
		ts.Fatalf("nothing was started as %s", name)
	}
	return p
}

// ready takes addresses and directories from the line a process is ready with.
func ready(ts *testscript.TestScript, name, line string) {
	var d struct {
		Addr, Dir string
		Nodes     []struct{ Addr string }
	}
	if json.Unmarshal([]byte(line), &d) != nil {
		return
	}
	addrs := []string{d.Addr}
	for _, n := range d.Nodes {
		addrs = append(addrs, n.Addr)
	}
	ts.Setenv(name+"_addr", strings.Trim(strings.Join(addrs, ","), ","))
	ts.Setenv(name+"_dir", d.Dir)
}

func says(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: says NAME RE")
	}
	p, want := running(ts, args[0]), regexp.MustCompile("(?m)"+args[1])
	if neg {
		if want.MatchString(p.log.String()) {
			ts.Fatalf("%s said %s: %s", args[0], want, p.log)
		}
		return
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	limit := time.After(patience)
	for !want.MatchString(p.log.String()) {
		select {
		case <-poll.C:
		case <-limit:
			ts.Fatalf("%s never said %s: %s", args[0], want, p.log)
		}
	}
}

func signalCmd(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}
	if len(args) != 2 || signals[args[1]] == nil {
		ts.Fatalf("usage: signal NAME TERM|INT|KILL")
	}
	p := running(ts, args[0])
	ts.Check(p.cmd.Process.Signal(signals[args[1]]))
	select {
	case err := <-p.exited:
		if (err != nil) != neg && args[1] != "KILL" {
			ts.Fatalf("%s ended with %v: %s", args[0], err, p.log)
		}
	case <-time.After(patience):
		ts.Fatalf("%s does not end: %s", args[0], p.log)
	}
}

func ended(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ended NAME CODE")
	}
	if code := fmt.Sprint(running(ts, args[0]).cmd.ProcessState.ExitCode()); code != args[1] {
		ts.Fatalf("%s ended with code %s, want %s", args[0], code, args[1])
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("muster", args[1:]...)
	code := 0
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		code = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("muster %s exited with %d, want %d", strings.Join(args[1:], " "), code, want)
	}
}

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually RE ARG...")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	limit := time.After(patience)
	for {
		out, err := muster(ts, args[1:])
		if err == nil && want.Match(out) {
			return
		}
		select {
		case <-poll.C:
		case <-limit:
			ts.Fatalf("muster %s never printed %s; at last %v, %s", strings.Join(args[1:], " "), want, err, out)
		}
	}
}

// muster runs a command line without a trace in the transcript.
func muster(ts *testscript.TestScript, args []string) ([]byte, error) {
	path, err := exec.LookPath("muster")
	ts.Check(err)
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"MUSTER_ADDR=" + ts.Getenv("MUSTER_ADDR")}
	return cmd.Output()
}

// loopback is an address of this machine that no other process binds to: on the one that all know, another test's listener may be given a port
// before the process takes it that it is meant for, or while that is down.
func loopback() net.IP { return net.IPv4(127, byte(1+os.Getpid()/250%250), byte(1+os.Getpid()%250), 1) }

func ports(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: loopback()})
		ts.Check(err)
		defer l.Close() // only now, so that all are different
		ts.Setenv(name, l.Addr().String())
	}
}

// The reference in docs is what the table says today.
func TestDocsAreCurrent(t *testing.T) {
	var want bytes.Buffer
	if err := writeDocs(&want); err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../docs/cli.md")
	if err != nil || !bytes.Equal(have, want.Bytes()) {
		t.Errorf("docs/cli.md is not what the table of verbs says (%v): run make docs", err)
	}
}

// Every verb says what it does, shows an example and what that prints.
func TestVerbsAreExplained(t *testing.T) {
	var walk func(prefix string, list []verb)
	walk = func(prefix string, list []verb) {
		for _, v := range list {
			name := prefix + strings.Fields(v.use)[0]
			if v.short == "" || v.long == "" || v.body == nil && len(v.verbs) == 0 {
				t.Errorf("%s: no help, or nothing to run", name)
			}
			if v.body != nil && (!strings.HasPrefix(v.example, "muster "+name) || v.output == "") {
				t.Errorf("%s: example %q, output %q", name, v.example, v.output)
			}
			walk(name+" ", v.verbs)
		}
	}
	walk("", verbs())
	if t.Failed() {
		fmt.Println("see cmd/node/verb.go for what a verb has to say")
	}
}
