package simulation

import "time"

// network is the links between nodes. What is sent may be lost, repeated, late and out of order; a link may be cut in one
// direction. Clients and the nodes' words to themselves use no link that can be cut.
type network struct {
	cut   map[[2]*node]bool // from, to
	loss  float64
	twice float64
	late  float64 // the share of messages that take far longer than the others
}

// latest is how long the longest message takes.
const latest = 1500 * time.Millisecond

// open reports whether both directions of a link are.
func (n *network) open(a, b *node) bool { return !n.cut[[2]*node{a, b}] && !n.cut[[2]*node{b, a}] }

// send delivers to whatever process the receiver runs when the message arrives; none, or one that is paused, is none or
// later. What a message carries must not change after it was sent.
func (w *world) send(from, to *node, deliver func(*process)) {
	if from == to {
		w.after(w.between(time.Microsecond, 200*time.Microsecond), func() { to.receive(deliver) })
		return
	}
	copies := 1
	if w.chance(w.net.twice) {
		copies = 2
	}
	for range copies {
		if w.net.cut[[2]*node{from, to}] || w.chance(w.net.loss) {
			continue
		}
		w.after(w.delay(), func() {
			if !w.net.cut[[2]*node{from, to}] {
				to.receive(deliver)
			}
		})
	}
}

// delay draws how long a message takes.
func (w *world) delay() time.Duration {
	if w.chance(w.net.late) {
		return w.between(5*time.Millisecond, latest)
	}
	return w.between(100*time.Microsecond, 4*time.Millisecond)
}

// receive hands something to the node's process: now, when its pause is over, or never.
func (n *node) receive(deliver func(*process)) {
	p := n.process
	switch {
	case p == nil:
	case n.w.now < n.paused:
		n.w.after(n.paused-n.w.now, func() { n.receive(deliver) })
	default:
		deliver(p)
	}
}
