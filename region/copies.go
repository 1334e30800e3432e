package region

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"muster/journal"
	"muster/region/route"
	"muster/replication"
	"muster/shard"
)

// copies makes this node hold what the map says it holds: it creates copies that were minted for its directory, starts a
// host for each, and tells the coordinator what it finds until the map shows that it knows. Safe for concurrent use.
type copies struct {
	region   *Region
	hosts    table[shard.CopyID, *host]
	workers  workers         // for hosts that something has come for, however many those are
	session  shard.SessionID // this process's when the last map was followed; owned by Update
	reading  chan struct{}   // a place for each copy that is read at once
	upkeep   chan struct{}   // the place of the one step of a compaction that runs at a time
	reported time.Duration   // when reports were last repeated; owned by the beat
	roused   time.Duration   // when every host was last given a tick; owned by the beat
	asked    int             // signs of life; owned by the beat
	admitted chan struct{}   // closed when a map has shown this process's session, and all that it shows was followed
	pauses   pauses
	loads    loads
	mu       struct {
		sync.Mutex
		held     map[shard.CopyID]*holding
		byShard  map[shard.ID][]shard.CopyID // of held
		volatile map[shard.ID]*volatile
		err      error // the journal's
		settled  bool  // see settle
		closed   bool
	}
}

// A holding is a copy that is in the journal, or being created there, or should be there and is not.
type holding struct {
	route.Holding
	shard  shard.ID
	aside  bool // the map says that it is lost: it stays in the journal and answers nobody
	host   *host
	report *shard.Report // repeated until the map shows its effect
}

func (c *copies) init(r *Region) error {
	c.loads.init(r)
	c.workers.limit = math.MaxInt
	c.region, c.reading, c.upkeep, c.admitted = r, make(chan struct{}, runtime.GOMAXPROCS(0)), make(chan struct{}, 1), make(chan struct{})
	c.mu.byShard = map[shard.ID][]shard.CopyID{}
	c.mu.held, c.mu.volatile = map[shard.CopyID]*holding{}, map[shard.ID]*volatile{}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := r.cfg.Journal.Copies()
	indexes, err := r.cfg.Logs.take(all)
	if err != nil {
		return err
	}
	for _, s := range all {
		h := &holding{shard: s.Shard}
		c.hold(s.State.Copy, h)
		if s.Damaged != nil {
			h.Damage = s.Damaged.Error()
			continue
		}
		h.host = c.start(s, indexes[s.State.Copy])
	}
	return nil
}

func (c *copies) hold(id shard.CopyID, h *holding) {
	c.mu.held[id] = h
	c.mu.byShard[h.shard] = append(c.mu.byShard[h.shard], id)
}

// start begins to host a copy. The caller holds the lock.
func (c *copies) start(s journal.CopyState, x index) *host {
	h := newHost(c.region, s, x)
	c.hosts.put(h.copy, h)
	c.region.wait.Add(1)
	c.workers.start(h)
	return h
}

// host returns the host of a copy, nil when this node does not host it.
func (c *copies) host(id shard.CopyID) *host {
	h, _ := c.hosts.get(id)
	return h
}

// follow acts on a placement that is new to this node.
func (c *copies) follow(p *shard.Placement, spec shard.Spec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return
	}
	if spec.Volatile {
		c.followVolatile(p, spec)
		return
	}
	index := c.region.view.Load().Index
	c.recognize(p)
	c.retire(p, index)
	mine, ok := route.CopyOn(p, c.region.cfg.Directory.DirectoryID())
	if !ok {
		return
	}
	h := c.mu.held[mine.ID]
	if h == nil {
		if !c.mu.settled {
			return // a map of earlier times may show as not made yet what was made, and is lost: made again it would be empty, and counted on
		}
		h = &holding{shard: p.Shard, Holding: route.Holding{Since: index, Missing: mine.State == shard.CopyReady}}
		c.hold(mine.ID, h)
		if !h.Missing {
			c.create(p.Shard, mine.ID, h)
		}
	}
	if h.Since == 0 {
		h.Since = index
	}
	c.state(h, mine)
	if h.host != nil {
		c.region.owners.put(p.Shard, h.host)
		h.host.inbox.put(func(b *batch) { b.placement = p })
	}
}

// recognize gives a copy of which the journal cannot tell whose it is, because what it says of that is rotten, the shard that the map gives it.
// The caller holds the lock.
func (c *copies) recognize(p *shard.Placement) {
	for _, id := range slices.Clone(c.mu.byShard[shard.ID{}]) {
		if found, ok := route.Named(p, id); ok && found.Directory == c.region.cfg.Directory.DirectoryID() {
			h := c.mu.held[id]
			c.forget(id)
			h.shard = p.Shard
			c.hold(id, h)
		}
	}
}

// state settles what the coordinator has to be told about the copy.
func (c *copies) state(h *holding, mine shard.Copy) {
	was := h.report
	h.report = nil
	r, due := h.Report(h.shard, mine)
	if !due {
		return
	}
	h.report = &r
	if was == nil || *was != r {
		c.region.cfg.Directory.Report(r)
	}
}

// create makes the copy in the journal and then reports it.
func (c *copies) create(id shard.ID, copy shard.CopyID, h *holding) {
	h.Creating = true
	go c.region.cfg.Journal.Create(id, copy, func(err error) {
		if err != nil {
			c.region.fail(err)
			return
		}
		c.created(id, copy)
	})
}

func (c *copies) created(id shard.ID, copy shard.CopyID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.mu.held[copy]
	if h == nil || c.mu.closed {
		return
	}
	h.Creating = false
	h.host = c.start(journal.CopyState{Shard: id, State: replication.State{Copy: copy}}, newIndex())
	v := c.region.view.Load()
	p := v.Placement(id)
	if p == nil {
		return
	}
	mine, ok := route.Named(p, copy)
	if !ok {
		c.retire(p, v.Index)
		return
	}
	c.state(h, mine)
	c.region.owners.put(id, h.host)
	h.host.inbox.put(func(b *batch) { b.placement = p })
}

// damaged gives up a copy whose log cannot be read.
func (r *Region) damaged(h *host, err error) {
	h.log.Error("the copy is damaged", "error", err)
	h.inbox.close()
	c := &r.copies
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.unhost(h)
	if held == nil {
		return
	}
	held.Damage = err.Error()
	if p := r.view.Load().Placement(h.id); p != nil {
		if mine, ok := route.Named(p, h.copy); ok && mine.State != shard.CopyLost {
			c.state(held, mine)
		}
	}
}

// tick lets time pass for the hosts that wait for something, and repeats reports.
func (c *copies) tick(now time.Duration) {
	again := now-c.reported >= reportAgain
	if again {
		c.reported = now
	}
	all := now-c.roused >= everyHost
	if all {
		c.roused = now
	}
	for h := range c.hosts.all() {
		if all || h.pulse.beats() {
			h.inbox.put(func(b *batch) { b.ticks++ })
		}
		if r := h.pulse.report.Load(); again && r != nil {
			c.region.cfg.Directory.Report(*r)
		}
	}
	c.loads.tick()
	c.listen()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.mu.held {
		if again && h.report != nil {
			c.region.cfg.Directory.Report(*h.report)
		}
	}
	for _, v := range c.mu.volatile {
		v.tick(again)
	}
}

// underWay counts the calls that were taken here and are not answered.
func (c *copies) underWay() (calls int64) {
	for h := range c.hosts.all() {
		calls += h.load.calls.Load()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.mu.volatile {
		calls += v.load.calls.Load()
	}
	return calls
}

// unserved counts the hosts that have handed their shards over to primaries that are not known to serve yet.
func (c *copies) unserved() (hosts int64) {
	for h := range c.hosts.all() {
		if h.pulse.given.Load() {
			hosts++
		}
	}
	return hosts
}

// close stops every host.
func (c *copies) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.closed = true
	for h := range c.hosts.all() {
		h.inbox.close()
	}
	for _, v := range c.mu.volatile {
		v.stop()
	}
	c.workers.close()
}

// failed notes the journal's fault; false when one is known already.
func (c *copies) failed(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.err != nil || c.mu.closed {
		return false
	}
	c.mu.err = err
	return true
}

func (c *copies) fault() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.err
}
