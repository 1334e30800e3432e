package coordinator

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// sparseEvery is how often Raft may say the same of the same peer, and sparseKinds bounds what is remembered of that.
const (
	sparseEvery = 30 * time.Second
	sparseKinds = 1024
)

// sparse is Raft's logger. Of a voter that is down Raft complains three times a second for as long as that is so, at level error: days of
// it bury whatever else a node had to say. The same words of the same peer are let through once in sparseEvery, with how often they were
// withheld. Nothing else is changed.
type sparse struct {
	hclog.Logger
	now  func() time.Time
	mu   sync.Mutex
	said map[string]*saying
}

type saying struct {
	last     time.Time
	withheld int
}

func newSparse(l hclog.Logger, now func() time.Time) *sparse {
	return &sparse{Logger: l, now: now, said: map[string]*saying{}}
}

func (s *sparse) Warn(msg string, args ...any)  { s.say(s.Logger.Warn, msg, args) }
func (s *sparse) Error(msg string, args ...any) { s.say(s.Logger.Error, msg, args) }

func (s *sparse) say(log func(string, ...any), msg string, args []any) {
	withheld, now := s.due(msg, args)
	switch {
	case !now:
	case withheld == 0:
		log(msg, args...)
	default:
		log(msg, append(args[:len(args):len(args)], "withheld", withheld)...)
	}
}

// due reports whether it is time to say it, and how often it was not since it last was. Who is spoken of is the first value: the peer.
func (s *sparse) due(msg string, args []any) (withheld int, now bool) {
	if len(args) < 2 {
		return 0, true
	}
	key := fmt.Sprint(msg, " ", args[1])
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.now()
	before := s.said[key]
	if before != nil && at.Sub(before.last) < sparseEvery {
		before.withheld++
		return 0, false
	}
	if before != nil {
		withheld = before.withheld
	} else if len(s.said) >= sparseKinds {
		clear(s.said)
	}
	s.said[key] = &saying{last: at}
	return withheld, true
}
