package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"muster/client"
	"muster/shard"
)

const (
	glance   = 50 * time.Millisecond // between two looks at something that takes time
	logLines = 15                    // of a node that died, shown to the user
)

// A group is nodes as processes of this very program on this machine, with their directories below one temporary one. It
// belongs to one goroutine.
type group struct {
	dir     string
	seeds   []string
	args    []string // the same for all
	members []*member
	died    chan error // a process ended that nobody had killed
}

// A member is one node's name and place, whether or not a process runs for it.
type member struct {
	id, addr, dir string
	process       *exec.Cmd // nil while down
	stdin         io.Closer
	expected      chan struct{} // closed before the process is made to end
	ended         chan struct{} // closed when it has
}

// newGroup chooses addresses and starts the processes.
func newGroup(nodes int, s shape) (*group, error) {
	dir, err := os.MkdirTemp("", "ledger-")
	if err != nil {
		return nil, err
	}
	g := &group{dir: dir, died: make(chan error, nodes)}
	addrs, err := freeAddrs(nodes)
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	for i, addr := range addrs {
		id := "n" + strconv.Itoa(i+1)
		g.members = append(g.members, &member{id: id, addr: addr, dir: filepath.Join(dir, id)})
	}
	voters := min(7, nodes-1+nodes%2) // an odd number, at most all
	g.seeds = addrs[:voters]
	g.args = append([]string{"--until-stdin-closes", "--seeds", strings.Join(g.seeds, ",")}, s.args()...)
	for _, m := range g.members {
		if err := g.start(m); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	return g, nil
}

// Ports of the nodes are below those that the system hands out by itself (from 32768 on Linux, 49152 elsewhere): a node
// comes up, or back, some time after its port was found free, and meanwhile no outgoing connection may take it.
const (
	lowestPort  = 20_000
	highestPort = 32_000
	portTries   = 1_000
)

// freeAddrs finds ports that are free now: a node that comes back needs the one it had.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range portTries {
		if len(addrs) == n {
			return addrs, nil
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowestPort+rand.IntN(highestPort-lowestPort)))
		if err != nil {
			continue // taken
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return nil, fmt.Errorf("no %d free ports from %d to %d", n, lowestPort, highestPort)
}

func (g *group) start(m *member) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(m.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	p := exec.Command(self, append([]string{"serve", "--id", m.id, "--addr", m.addr, "--dir", m.dir}, g.args...)...)
	p.Stdout, p.Stderr = log, log
	if m.stdin, err = p.StdinPipe(); err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return fmt.Errorf("start %s: %w", m.id, err)
	}
	m.process, m.expected, m.ended = p, make(chan struct{}), make(chan struct{})
	go g.watch(m, p, m.expected, m.ended)
	return nil
}

// watch joins one process and tells when it ended by itself.
func (g *group) watch(m *member, p *exec.Cmd, expected, ended chan struct{}) {
	err := p.Wait()
	close(ended)
	select {
	case <-expected:
	default:
		g.died <- fmt.Errorf("node %s ended by itself: %v\n%s", m.id, err, lastLines(m.dir+".log"))
	}
}

func lastLines(path string) string {
	all, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(all)), "\n")
	return strings.Join(lines[max(0, len(lines)-logLines):], "\n")
}

// kill ends a process as a power cut would.
func (g *group) kill(m *member) error {
	if m.process == nil {
		return nil
	}
	close(m.expected)
	err := m.process.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-m.ended
	m.process = nil
	return err
}

// close kills what runs and removes every trace. A nil group has none.
func (g *group) close() error {
	if g == nil {
		return nil
	}
	var errs []error
	for _, m := range g.members {
		errs = append(errs, g.kill(m))
	}
	return errors.Join(append(errs, os.RemoveAll(g.dir))...)
}

func (g *group) member(id string) *member {
	for _, m := range g.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// caughtUp waits until m holds durably what the primaries of its copies had confirmed a moment before.
func (g *group) caughtUp(ctx context.Context, m *member, copies []shard.ID) error {
	for {
		lag, err := g.lag(ctx, m, copies)
		if err == nil && lag == 0 {
			return nil
		}
		if stop := pause(ctx, glance); stop != nil {
			return fmt.Errorf("%s has not caught up (lag %d, %v): %w", m.id, lag, err, stop)
		}
	}
}

// lag is the number of confirmed records that m does not hold yet. m is asked last.
func (g *group) lag(ctx context.Context, m *member, copies []shard.ID) (int, error) {
	confirmed := map[shard.ID]shard.LSN{}
	for _, other := range g.members {
		if other == m {
			continue
		}
		hosted, err := inspect(ctx, other.addr)
		if err != nil {
			return -1, err
		}
		for _, h := range hosted {
			confirmed[h.Shard] = max(confirmed[h.Shard], h.Confirmed)
		}
	}
	hosted, err := inspect(ctx, m.addr)
	if err != nil {
		return -1, err
	}
	durable := map[shard.ID]shard.LSN{}
	for _, h := range hosted {
		durable[h.Shard] = h.Durable
	}
	lag := 0
	for _, id := range copies {
		held, there := durable[id]
		if !there {
			return -1, fmt.Errorf("its copy of %s is not there", id)
		}
		lag += int(max(confirmed[id], held) - held)
	}
	return lag, nil
}

func inspect(ctx context.Context, addr string) ([]client.Hosted, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := client.Connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s, err := c.Inspect(ctx)
	return s.Hosted, err
}

// pause waits, or fails when ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
