package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"muster/node"
	"muster/shard"
)

const (
	demoPatience = 5 * time.Minute // for everything; a run takes seconds
	accountType  = shard.TypeName("account")
)

// victim is the value of --kill: "" for nobody, or whom. Without a value it means the Raft leader.
type victim string

func (v *victim) String() string   { return string(*v) }
func (v *victim) IsBoolFlag() bool { return true }
func (v *victim) Set(s string) error {
	switch s {
	case "true":
		s = "leader"
	case "false":
		s = ""
	}
	*v = victim(s)
	return nil
}

// options of the demo.
type options struct {
	shape
	nodes, callers     int
	input, out, format string
	kill               victim
}

func demoOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.StringVar(&o.input, "input", "", "file of transactions, plain or gzip; empty: a made-up one that comes with the program")
	f.StringVar(&o.out, "out", "", "write \"account balance\" lines, in hundredths, as the group holds them in the end")
	f.StringVar(&o.format, "o", "table", "table or json")
	f.IntVar(&o.nodes, "nodes", 3, "processes")
	f.IntVar(&o.callers, "callers", 256, "postings in flight, each of another account")
	f.Var(&o.kill, "kill", "kill -9 a node half-way and start it again: --kill or --kill=leader, --kill=primary for the one that\n"+
		"serves most shards, --kill=n2 for that one")
	o.flags(f)
	if err := parse(f, args, stderr); err != nil {
		return o, err
	}
	return o, o.validate()
}

func (o *options) validate() error {
	known := o.kill == "" || o.kill == "leader" || o.kill == "primary"
	for i := 1; i <= o.nodes; i++ {
		known = known || string(o.kill) == fmt.Sprintf("n%d", i)
	}
	switch {
	case o.format != "table" && o.format != "json":
		return misuse{fmt.Errorf("-o %q: must be table or json", o.format)}
	case o.nodes < 1 || o.nodes > 9:
		return misuse{fmt.Errorf("--nodes %d: must be 1 to 9", o.nodes)}
	case o.nodes <= o.replicas:
		return misuse{fmt.Errorf("--replicas %d: takes %d nodes, there are %d", o.replicas, o.replicas+1, o.nodes)}
	case o.callers < 1 || o.callers > 65_536:
		return misuse{fmt.Errorf("--callers %d: must be 1 to 65536", o.callers)}
	case !known:
		return misuse{fmt.Errorf("--kill=%s: must be leader, primary or a node from n1 to n%d", o.kill, o.nodes)}
	}
	return nil
}

// demo starts a group, replays a file, checks every balance and reports.
func demo(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := demoOptions(args, stderr)
	if err != nil {
		return err
	}
	b, err := o.bank()
	if err != nil {
		return err
	}
	postings, err := readFile(o.input)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	d := &show{options: o, bank: b, postings: postings, want: sums(postings), progress: newProgress(stderr)}
	d.report = report{
		Transactions: len(postings), Accounts: len(d.want),
		Group: groupReport{Nodes: o.nodes, Shards: o.shards, Replicas: o.replicas, MinAcks: o.minAcks, Callers: o.callers},
	}
	if err := d.run(ctx); err != nil {
		return err
	}
	if o.format == "json" {
		err = d.report.json(stdout)
	} else {
		err = d.report.table(stdout)
	}
	return errors.Join(err, d.report.verdict())
}

// A show is one run of the demo. The processes serve; this program joins them as a member without a vote that hosts nothing, so
// that its postings have a session of their own and take effect once, whatever happens to the nodes.
type show struct {
	options
	bank     bank
	postings []posting
	want     map[int64]Account
	progress *progress
	group    *group
	teller   *node.Node
	report   report
}

func (d *show) run(ctx context.Context) (err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d.progress.say("starting %d nodes", d.nodes)
	if d.group, err = newGroup(d.nodes, d.shape); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.group.close()) }()
	go func() { // ends with ctx
		select {
		case err := <-d.group.died:
			stop(err)
		case <-ctx.Done():
		}
	}()
	if err := d.join(ctx); err != nil {
		return why(ctx, err)
	}
	defer d.teller.Kill()
	if err := d.play(ctx); err != nil {
		return why(ctx, err)
	}
	return nil
}

// why prefers the reason for which everything was stopped to what that looked like from inside.
func why(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// join starts the teller and waits until every shard is served.
func (d *show) join(ctx context.Context) (err error) {
	d.teller, err = node.Start(ctx, node.Config{ID: "teller", Dir: filepath.Join(d.group.dir, "teller"), Seeds: d.group.seeds})
	if err != nil {
		return err
	}
	for !d.served(nil) {
		if err := pause(ctx, glance); err != nil {
			return fmt.Errorf("not every shard is served: %w", err)
		}
	}
	return nil
}

// placements is the present map of the shards, nil while there is none.
func (d *show) placements() []*shard.Placement {
	if t := d.teller.View().Types[accountType]; t != nil {
		return t.Placements
	}
	return nil
}

// served reports whether every shard has an active primary, and those in lost a later one than then.
func (d *show) served(lost map[shard.ID]shard.Epoch) bool {
	placements := d.placements()
	for _, p := range placements {
		if p == nil || p.Status != shard.Active || p.Epoch <= lost[p.Shard] {
			return false
		}
	}
	return len(placements) > 0
}

// on lists what a node has: the shards it serves with their epochs, and those it holds a copy of.
func (d *show) on(id string) (primaries map[shard.ID]shard.Epoch, copies []shard.ID) {
	primaries = map[shard.ID]shard.Epoch{}
	for _, p := range d.placements() {
		if string(p.Node) == id {
			primaries[p.Shard] = p.Epoch
		}
		for _, c := range p.Copies {
			if string(c.Node) == id {
				copies = append(copies, p.Shard)
			}
		}
	}
	return primaries, copies
}

func (d *show) play(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := newReplay(d.teller, d.bank, d.shards, d.postings)
	d.progress.say("posting %s transactions of %s accounts", thousands(len(d.postings)), thousands(len(d.want)))
	end := d.progress.bar(&r.confirmed, r.total)
	killed := make(chan error, 1)
	go func() { killed <- d.fault(ctx, r) }()
	err := r.run(ctx, d.callers)
	end()
	if err != nil {
		cancel()
		<-killed // what it says comes of the cancelling
		return err
	}
	if err := <-killed; err != nil {
		return err
	}
	d.report.measure(r)
	d.progress.say("reading %s balances back", thousands(len(d.want)))
	got, err := r.readAll(ctx, d.callers)
	if err != nil {
		return err
	}
	d.report.compare(got, d.want)
	if d.out != "" {
		return writeBalances(d.out, got)
	}
	return nil
}

// fault kills a node when half of the postings are confirmed, starts it again when the others serve all shards, and waits
// until it has caught up.
func (d *show) fault(ctx context.Context, r *replay) error {
	if d.kill == "" {
		return nil
	}
	select {
	case <-r.half:
	case <-ctx.Done():
		return ctx.Err()
	}
	id, reason := d.choose()
	m := d.group.member(id)
	if m == nil {
		return fmt.Errorf("nobody to kill: %s is %q", reason, id)
	}
	lost, copies := d.on(id)
	k := &killReport{Node: id, Why: reason, Primaries: len(lost), After: r.confirmed.Load()}
	if err := d.group.kill(m); err != nil {
		return fmt.Errorf("kill %s: %w", id, err)
	}
	killed := time.Now()
	d.progress.say("killed %s (%s) after %s transactions", id, reason, thousands(int(k.After)))
	alone := d.minAcks < d.replicas // whether the others can serve without it
	if alone {
		if err := d.awaitServed(ctx, k, lost, killed); err != nil {
			return err
		}
	}
	started := time.Now()
	if err := d.group.start(m); err != nil {
		return err
	}
	if !alone {
		if err := d.awaitServed(ctx, k, lost, killed); err != nil {
			return err
		}
	}
	if err := d.group.caughtUp(ctx, m, copies); err != nil {
		return err
	}
	k.Back = ms(time.Since(started))
	d.progress.say("%s is back and has caught up", id)
	d.report.Killed = k
	return nil
}

func (d *show) awaitServed(ctx context.Context, k *killReport, lost map[shard.ID]shard.Epoch, killed time.Time) error {
	for !d.served(lost) {
		if err := pause(ctx, glance/10); err != nil {
			return fmt.Errorf("not every shard is served: %w", err)
		}
	}
	k.Served = ms(time.Since(killed))
	return nil
}

// choose names the node to kill and says why that one.
func (d *show) choose() (id, reason string) {
	switch d.kill {
	case "leader":
		return string(d.teller.Inspect().Leader), "Raft leader"
	case "primary":
		most := -1
		for _, m := range d.group.members {
			if primaries, _ := d.on(m.id); len(primaries) > most {
				id, most = m.id, len(primaries)
			}
		}
		return id, "serves most shards"
	}
	return string(d.kill), "as asked"
}
