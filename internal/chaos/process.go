package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"muster/entity"
	"muster/node"
	"muster/shard"
)

const nodeVariable = "MUSTER_CHAOS_NODE"

// A Process is one node of the group under test, in a process of its own.
type Process struct {
	ID, Addr, Dir string
	Seeds         []string
	cmd           *exec.Cmd
	exited        chan error
}

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
	n, err := node.Start(ctx, node.Config{
		ID: shard.NodeID(p.ID), Addr: p.Addr, Dir: p.Dir, Seeds: p.Seeds, Hosts: entity.Types(books),
		Logger: hclog.New(&hclog.LoggerOptions{Name: p.ID, Level: hclog.Info, Output: os.Stderr}),
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-n.Failed():
		return n.Err()
	}
	bounded, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return n.Shutdown(bounded)
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
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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

// Signal sends SIGSTOP, SIGCONT, SIGKILL or SIGTERM.
func (p *Process) Signal(s syscall.Signal) error {
	if !p.Running() {
		return fmt.Errorf("node %s exited by itself, see %s", p.ID, p.Log())
	}
	return p.cmd.Process.Signal(s)
}

// Processes makes n nodes that found a group, with data below dir, not started yet.
func Processes(dir string, n int) ([]*Process, error) {
	var ps []*Process
	var seeds []string
	for i := range n {
		// This reserves a port; a moment later the node takes it over, and again after each kill. On a loopback address of this
		// process's own, no outgoing connection takes the port in between.
		l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.1:0", 1+os.Getpid()/250%250, 1+os.Getpid()%250))
		if err != nil {
			return nil, err
		}
		defer l.Close()
		id := fmt.Sprintf("n%d", i+1)
		ps = append(ps, &Process{ID: id, Addr: l.Addr().String(), Dir: filepath.Join(dir, id)})
		seeds = append(seeds, l.Addr().String())
	}
	for _, p := range ps {
		p.Seeds = seeds
	}
	return ps, nil
}

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
