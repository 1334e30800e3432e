package main

// The systems of P4 to P7.
const (
	askGroup   = "Muster, 3 members and a caller"
	gatherHop  = "bare gRPC, gathered, and a mailbox"
	unaryCall  = "bare gRPC, unary"
	protoGrain = "Proto.Actor grains, 3 members and a client"
	protoAsk   = "Proto.Actor, remote ask"
	tellGroup  = "Muster, one-way, 3 members and a caller"
	bareTells  = "bare gRPC, 64 envelopes a frame, one way"
	protoTells = "Proto.Actor, remote tell"
	localAsk   = "Muster, on the owner"

	toldEntities = 1024 // as many as the references have

	notServed = "cannot be had here: its module is not served"
)

var volatileKind = kindSettings{Name: "volatile", Shards: 48, Volatile: true}

// asks measures commands to entities in memory, in three members, asked by a fourth process.
func (b *bench) asks() error {
	g, err := b.newGroup(3, true, volatileKind)
	if err != nil {
		return err
	}
	w := work{Kind: volatileKind.Name, Entities: manyKeys, Where: anywhere}
	systems := append([]system{g.ask(askGroup, w)}, b.foreigners([][2]string{
		{gatherHop, "hop"}, {unaryCall, "unary"}, {protoGrain, "grains"}, {protoAsk, "actors"},
	})...)
	callers := []int{256, 4096}
	if b.wanted("P5") {
		callers = []int{1, 16, 256, 4096}
	}
	f := bout{bench: b, row: "P4", callers: callers, systems: systems}.run()
	if err := g.audit(w); err != nil {
		f.void(askGroup, err)
	}
	for _, n := range []int{256, 4096} {
		at := callersOf(n)
		ours := f.find(askGroup, at)
		b.compare("P4", atLeast(0.8, "asks/s of bare gRPC, gathered, with a mailbox, "+at), mRate, ours, f.find(gatherHop, at))
		b.compare("P4", atLeast(2.5, "asks/s of Proto.Actor's grains, "+at), mRate, ours, f.find(protoGrain, at))
	}
	b.blank("P4", atLeast(6, "asks/s of GoAkt's grains"), notServed)
	b.blank("P4", atLeast(1, "asks/s of Ergo's remote ask"), notServed)
	b.compare("P5", atMost(0.75, "p50 of unary gRPC, 1 caller"), mP50, f.find(askGroup, callersOf(1)), f.find(unaryCall, callersOf(1)))
	b.compare("P5", atMost(0.35, "p50 of unary gRPC, 16 callers"), mP50, f.find(askGroup, callersOf(16)), f.find(unaryCall, callersOf(16)))
	b.compare("P5", atMost(0.35, "p99 of unary gRPC, 256 callers"), mP99, f.find(askGroup, callersOf(256)), f.find(unaryCall, callersOf(256)))
	return nil
}

// foreigners starts references, by title and name; one that does not start is left out, and what needs it stays blank.
func (b *bench) foreigners(list [][2]string) (all []system) {
	for _, r := range list {
		f, err := b.newForeign(r[0], r[1])
		if err != nil {
			b.progress("%s is left out: %v", r[0], err)
			continue
		}
		all = append(all, f)
	}
	return all
}

// tells measures commands that nobody waits for, sent by one caller to three members. A run lasts until everything has arrived, for the
// references too.
func (b *bench) tells() error {
	g, err := b.newGroup(3, true, volatileKind)
	if err != nil {
		return err
	}
	w := work{Kind: volatileKind.Name, Entities: toldEntities, Where: anywhere, OneWay: true}
	systems := append([]system{g.ask(tellGroup, w)}, b.foreigners([][2]string{{bareTells, "oneway"}, {protoTells, "told"}})...)
	t := bout{bench: b, row: "P6", callers: []int{1}, systems: systems}
	t.loop.Every = 64 // two looks at the clock are a twentieth of such a command, and nothing of a frame of 64
	f := t.run()
	if err := g.audit(w); err != nil {
		f.void(tellGroup, err)
	}
	at := callersOf(1)
	b.compare("P6", atLeast(0.6, "tells/s of bare gRPC with 64 envelopes a frame, "+at), mRate, f.find(tellGroup, at), f.find(bareTells, at))
	b.compare("P6", atLeast(1.5, "tells/s of Proto.Actor, "+at), mRate, f.find(tellGroup, at), f.find(protoTells, at))
	b.blank("P6", atLeast(1.5, "tells/s of the best of Hollywood, Ergo and GoAkt"), notServed)
	return nil
}

// local measures asks whose entity is in the caller's process.
func (b *bench) local() error {
	g, err := b.newGroup(1, false, volatileKind)
	if err != nil {
		return err
	}
	w := work{Kind: volatileKind.Name, Entities: manyKeys, Where: ownedHere, Read: true}
	t := bout{bench: b, row: "P7", callers: []int{1, 2}, systems: []system{g.ask(localAsk, w)}}
	t.loop.Every = 16 // looking at the clock takes a tenth of such an ask
	f := t.run()
	alone, pair := f.find(localAsk, callersOf(1)), f.find(localAsk, callersOf(2))
	b.judge("P7", atMost(1, "p50 of an ask on the owner, volatile entity, 1 caller").in("µs"), alone.Metrics[mP50], alone.Void)
	b.judge("P7", atLeast(1.5e6, "asks on the owner, volatile entities, 2 callers on 2 cores").in("/s"), pair.Metrics[mRate], pair.Void)
	return nil
}

// reads measures what it costs to read a durable entity on its owner: by the lease, and with the word of another copy.
func (b *bench) reads() error {
	leased := kindSettings{Name: "leased", Shards: durableP1, Replicas: 2, MinAcks: 1}
	confirmed := leased
	confirmed.Name, confirmed.Confirm = "confirmed", true
	g, err := b.newGroup(3, false, leased, confirmed)
	if err != nil {
		return err
	}
	w := work{Kind: leased.Name, Entities: manyKeys, Where: ownedHere, Read: true}
	asking := w
	asking.Kind = confirmed.Name
	const alone, together = "Muster, read by the lease", "Muster, read with another copy"
	callers := []int{1, 64}
	f := bout{bench: b, row: "reads", callers: callers, systems: []system{g.ask(alone, w), g.ask(together, asking)}}.run()
	for _, n := range callers {
		at := callersOf(n)
		b.compare("reads", atMost(0.5, "p50 with another copy: by the lease, "+at), mP50, f.find(alone, at), f.find(together, at))
	}
	return nil
}

// hot measures one journaled entity that everybody asks, beside many of the same type.
func (b *bench) hot() error {
	k := kindSettings{Name: "durable", Shards: durableP1, Replicas: 2, MinAcks: 1}
	g, err := b.newGroup(3, false, k)
	if err != nil {
		return err
	}
	const one, many = "Muster, one entity", "Muster, 10,000 entities"
	w := work{Kind: k.Name, Entities: manyKeys, Where: anywhere}
	single := w
	single.Entities = 1
	f := bout{bench: b, row: "P3", callers: []int{1000}, systems: []system{g.ask(one, single), g.ask(many, w)}, durable: true}.run()
	if err := g.audit(w); err != nil {
		f.void(one, err)
		f.void(many, err)
	}
	at := callersOf(1000)
	b.compare("P3", atLeast(0.5, "events/s of many entities, one hot entity, "+at), mRate, f.find(one, at), f.find(many, at))
	return nil
}
