package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"muster/internal/load"
	"muster/shard"
)

// A system is something load can be put on: a group of Muster with some work to do, or a reference.
type system interface {
	// name is what the tables call it.
	name() string
	// run puts the load on it.
	run(load.Loop) (*load.Sample, error)
	// pids are its processes; their children belong to it too.
	pids() []int
}

// A group is nodes of Muster on loopback, each a process, and possibly one member more that hosts nothing and only asks.
type group struct {
	members []*load.Process // those that host
	caller  *load.Process   // nil unless asked for
	all     []memberSettings
	done    map[string]uint64 // operations that ended well since the start, by kind
}

// newGroup starts hosting members of the types, and a caller if wanted, and returns when every shard is served.
func (b *bench) newGroup(hosts int, caller bool, kinds ...kindSettings) (*group, error) {
	dir, err := os.MkdirTemp(b.dir, "group-")
	if err != nil {
		return nil, err
	}
	addrs, err := freeAddrs(hosts + 1)
	if err != nil {
		return nil, err
	}
	g := &group{done: map[string]uint64{}}
	b.atEnd(func() {
		g.kill()
		os.RemoveAll(dir) // the data of all parts together filled a disk with 42 GB free
	})
	for i, addr := range addrs {
		s := memberSettings{ID: shard.NodeID(fmt.Sprintf("n%d", i+1)), Addr: addr, Seeds: addrs[:hosts], Kinds: kinds, Hosts: i < hosts}
		if !s.Hosts {
			s.ID = "caller"
		}
		s.Dir = filepath.Join(dir, string(s.ID))
		if !s.Hosts && !caller {
			break
		}
		g.all = append(g.all, s)
		p, err := s.started(dir)
		if err != nil {
			return nil, err
		}
		if s.Hosts {
			g.members = append(g.members, p)
		} else {
			g.caller = p
		}
	}
	return g, each(g.processes(), func(p *load.Process) error { return p.Do(load.Request{Do: "ready"}, nil) })
}

// freeAddrs reserves addresses for a moment, on a loopback address of this process's own, so that no outgoing connection takes
// a port before its member does, or while its member is down.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.1:0", 1+os.Getpid()/250%250, 1+os.Getpid()%250))
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// restart starts a member again that was killed. It does not wait for anything.
func (g *group) restart(i int) (err error) {
	g.members[i].Kill()
	s := g.all[i]
	g.members[i], err = s.started(filepath.Dir(s.Dir))
	return err
}

func (g *group) processes() []*load.Process {
	if g.caller == nil {
		return g.members
	}
	return append(g.members[:len(g.members):len(g.members)], g.caller)
}

func (g *group) kill() {
	for _, p := range g.processes() {
		p.Kill()
	}
	g.members, g.caller = nil, nil
}

// each does something with every process at once, and returns the first error.
func each(ps []*load.Process, do func(p *load.Process) error) error {
	faults := make(chan error, len(ps))
	for _, p := range ps {
		go func() { faults <- do(p) }()
	}
	var first error
	for range ps {
		if err := <-faults; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// ours is a group with work: the same group may be several systems.
type ours struct {
	title string
	group *group
	work  work
}

// ask makes the group a system. Callers ask through the caller if there is one, else each process has its share of them.
func (g *group) ask(title string, w work) *ours { return &ours{title: title, group: g, work: w} }

func (o *ours) name() string { return o.title }

func (o *ours) pids() []int {
	var ids []int
	for _, p := range o.group.processes() {
		ids = append(ids, p.PID())
	}
	return ids
}

func (o *ours) askers() []*load.Process {
	if o.group.caller != nil {
		return []*load.Process{o.group.caller}
	}
	return o.group.members
}

func (o *ours) run(l load.Loop) (*load.Sample, error) {
	with, err := json.Marshal(o.work)
	if err != nil {
		return nil, err
	}
	before, err := o.group.counts()
	if err != nil {
		return nil, err
	}
	askers := o.askers()
	samples := make([]*load.Sample, len(askers))
	var wg sync.WaitGroup
	var faults = make([]error, len(askers))
	for i, p := range askers {
		share := l
		share.Callers = l.Callers/len(askers) + b2i(i < l.Callers%len(askers))
		share.Rate = l.Rate * float64(share.Callers) / float64(l.Callers)
		if share.Callers == 0 {
			continue
		}
		samples[i] = &load.Sample{}
		wg.Go(func() { faults[i] = p.Do(load.Request{Do: "run", Loop: share, With: with}, samples[i]) })
	}
	wg.Wait()
	all := &load.Sample{}
	for i := range askers {
		if faults[i] != nil {
			return nil, faults[i]
		}
		if samples[i] != nil {
			samples[i].Counts = nil // the group's are taken here, of all processes
			all.Add(samples[i])
		}
	}
	if !o.work.Read {
		o.group.done[o.work.Kind] += all.Ops + all.Late
	}
	after, err := o.group.counts()
	for name := range after {
		all.Counts[name] = after[name] - before[name]
	}
	return all, err
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// counts adds up what the members that host have counted.
func (g *group) counts() (map[string]int64, error) {
	all := map[string]int64{}
	for _, p := range g.members {
		var own map[string]int64
		if err := p.Do(load.Request{Do: "counts"}, &own); err != nil {
			return nil, err
		}
		for name, n := range own {
			all[name] += n
		}
	}
	return all, nil
}

// audit compares what the entities counted with what was confirmed to the callers. Where they differ, a command was lost or
// ran twice.
func (g *group) audit(w work) error {
	w.Where = anywhere
	with, err := json.Marshal(w)
	if err != nil {
		return err
	}
	var n uint64
	if err := g.processes()[0].Do(load.Request{Do: "total", With: with}, &n); err != nil {
		return err
	}
	if n != g.done[w.Kind] {
		return fmt.Errorf("%d commands were confirmed, the entities counted %d", g.done[w.Kind], n)
	}
	return nil
}

// foreign is a reference: a process of the reference program.
type foreign struct {
	title   string
	process *load.Process
}

// newForeign starts a reference and returns when it answers.
func (b *bench) newForeign(title, name string) (*foreign, error) {
	dir, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return nil, err
	}
	p, err := load.Start(dir, name, nil, b.reference, name, filepath.Join(dir, "data"))
	if err != nil {
		return nil, fmt.Errorf("%w; make bench builds it", err)
	}
	b.atEnd(func() {
		p.Kill()
		os.RemoveAll(dir)
	})
	return &foreign{title, p}, p.Do(load.Request{Do: "ready"}, nil)
}

func (f *foreign) name() string { return f.title }

func (f *foreign) pids() []int { return []int{f.process.PID()} }

func (f *foreign) run(l load.Loop) (*load.Sample, error) {
	s := &load.Sample{}
	return s, f.process.Do(load.Request{Do: "run", Loop: l}, s)
}
