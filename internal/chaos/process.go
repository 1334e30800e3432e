package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/coordinator"
	"muster/entity"
	"muster/internal/load"
	"muster/node"
	"muster/region"
	"muster/shard"
)

const nodeVariable = "MUSTER_CHAOS_NODE"

// A Process is one node of the group under test, in a process of its own.
type Process struct {
	ID, Addr, Dir string
	Layout
	Seeds  []string
	cmd    *exec.Cmd
	exited chan error
}

// Layout is what all nodes of a group have in common. Zero fields mean the product's defaults.
type Layout struct {
	Nodes    int
	Voters   int           // the first nodes, which found the group; 0: all
	Late     int           // the last nodes, which the test starts itself
	Lease    time.Duration // of a session
	Rebuild  time.Duration // a node that is away for longer is replaced
	Cooldown time.Duration // of a shard that was moved
	Network  string        // address of a Network that carries what the nodes dial
}

// logLength is the length of logs, in records: so short that they are shortened, and copies filled by snapshots, all the time.
const logLength = 300

// RunNode turns this process into a node and does not return, when the environment says so. TestMain calls it first.
func RunNode() {
	settings := os.Getenv(nodeVariable)
	if settings == "" {
		return
	}
	if err := runNode(settings); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runNode(settings string) error {
	var p Process
	if err := json.Unmarshal([]byte(settings), &p); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	n, err := node.Start(ctx, p.config())
	if err != nil {
		return err
	}
	go p.measure(n)
	select {
	case <-ctx.Done():
	case <-n.Failed():
		return n.Err()
	}
	bounded, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return n.Shutdown(bounded)
}

func (p *Process) config() node.Config {
	c := node.Config{
		ID: shard.NodeID(p.ID), Addr: p.Addr, Dir: p.Dir, Seeds: p.Seeds, Hosts: entity.Types(books),
		Logger: hclog.New(&hclog.LoggerOptions{Name: p.ID, Level: hclog.Info, Output: os.Stderr}),
		Tuning: node.Tuning{
			Times:  coordinator.Times{Lease: p.Lease, Rebuild: p.Rebuild, Cooldown: p.Cooldown},
			Region: region.Limits{Log: logLength},
		},
	}
	if p.Network != "" {
		c.Tuning.Dialer = Through(p.Network, p.ID)
	}
	return c
}

// measure writes what the node measured beside its log, again and again, since nothing asks a node that is killed.
func (p *Process) measure(n *node.Node) {
	for range time.Tick(200 * time.Millisecond) {
		b, err := json.Marshal(n.HandOffs())
		if err == nil {
			err = os.WriteFile(p.handOffs()+".new", b, 0o600)
		}
		if err == nil {
			err = os.Rename(p.handOffs()+".new", p.handOffs())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

func (p *Process) handOffs() string { return filepath.Join(filepath.Dir(p.Dir), p.ID+".handoffs") }

// HandOffs returns what this life of the process measured, as of a moment ago.
func (p *Process) HandOffs() (h node.HandOffs, err error) {
	b, err := os.ReadFile(p.handOffs())
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(b, &h)
}

// Start starts the process; what it logs is appended to a file in its directory.
func (p *Process) Start() error {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	settings, err := json.Marshal(p)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(p.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), nodeVariable+"="+string(settings))
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = load.Attached()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan<- error) { exited <- cmd.Wait() }(p.cmd, p.exited)
	return nil
}

// Log is the path of the file the process logs to.
func (p *Process) Log() string { return filepath.Join(filepath.Dir(p.Dir), p.ID+".log") }

// Running reports whether the process has not exited; one that exits by itself is a finding.
func (p *Process) Running() bool { return p.cmd != nil && len(p.exited) == 0 }

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	return p.Await()
}

// stopsWithin is how long a process may take to stop on a busy machine.
const stopsWithin = 5 * time.Second

// Freeze sends SIGSTOP and waits until every thread has stopped: the signal is one thread's to take first, and until it gets a
// processor the others go on, and may still acknowledge what comes.
func (p *Process) Freeze() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(stopsWithin); ; {
		stopped, err := p.stopped()
		if err != nil || stopped {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("node %s goes on %s after SIGSTOP", p.ID, stopsWithin)
		}
		runtime.Gosched()
	}
}

// stopped reports whether the system shows every thread of the process as stopped.
func (p *Process) stopped() (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		return false, fmt.Errorf("node %s has no threads (%v)", p.ID, err)
	}
	for _, t := range threads {
		b, err := os.ReadFile(t)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return false, err
		}
		_, state, _ := strings.Cut(string(b), ") ") // behind the name, which may hold anything
		if !strings.HasPrefix(state, "T") {
			return false, nil
		}
	}
	return true, nil
}

// Signal sends SIGCONT, SIGKILL or SIGTERM; for SIGSTOP see Freeze.
func (p *Process) Signal(s syscall.Signal) error {
	if !p.Running() {
		return fmt.Errorf("node %s exited by itself, see %s", p.ID, p.Log())
	}
	return p.cmd.Process.Signal(s)
}

// Processes makes the nodes of a group, with data below dir, not started yet.
func Processes(dir string, l Layout) ([]*Process, error) {
	var ps []*Process
	var seeds []string
	for i := range l.Nodes {
		// This reserves a port; a moment later the node takes it over, and again after each kill. On a loopback address of this
		// process's own, no outgoing connection takes the port in between.
		held, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.1:0", 1+os.Getpid()/250%250, 1+os.Getpid()%250))
		if err != nil {
			return nil, err
		}
		defer held.Close()
		id := fmt.Sprintf("n%d", i+1)
		ps = append(ps, &Process{ID: id, Addr: held.Addr().String(), Dir: filepath.Join(dir, id), Layout: l})
		if i < l.Voters || l.Voters == 0 {
			seeds = append(seeds, held.Addr().String())
		}
	}
	for _, p := range ps {
		p.Seeds = seeds
	}
	return ps, nil
}

// Stop ends the process in good order and waits until it has.
func (p *Process) Stop() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.Gone(15 * time.Second)
}

// Gone waits until a process that is expected to end by itself has ended, and returns how.
func (p *Process) Gone(limit time.Duration) error {
	select {
	case err := <-p.exited:
		p.cmd = nil
		return err
	case <-time.After(limit):
		return fmt.Errorf("node %s goes on", p.ID)
	}
}

// PID is the running process's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Await waits until a process that was sent SIGKILL is gone.
func (p *Process) Await() error {
	select {
	case <-p.exited:
		p.cmd = nil
		return nil
	case <-time.After(10 * time.Second):
		return fmt.Errorf("node %s outlived SIGKILL by 10 s", p.ID)
	}
}
