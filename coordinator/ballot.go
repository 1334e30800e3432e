package coordinator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// The keys of Raft's stable store that a ballot holds; Raft does not export them.
const (
	termKey      = "CurrentTerm"
	voteTermKey  = "LastVoteTerm"
	candidateKey = "LastVoteCand"
)

// movedKey says in the store below that the file of ballots has taken over: without it there is no telling what was voted.
var movedKey = []byte("muster-ballots")

const (
	ballotMagic  = "mballot1"
	ballotSlot   = 4096 // bytes from one slot to the other, so that no write touches both
	ballotHeader = len(ballotMagic) + 4*8
	maxCandidate = 1024 // bytes
)

// ballot is what Raft must not forget of elections.
type ballot struct {
	serial    uint64 // of the writing
	term      uint64
	voteTerm  uint64
	candidate []byte
}

// ballots is a backend whose votes are in a file of their own. A transfer of the lead writes a term and a vote twice, one after the
// other, at the node that is to lead and at the one that leads: with two syncs for each of three keys that was most of its time.
//
// The file has two slots, written by turns: one that was being written when the machine failed leaves the other. Raft writes the
// term of a vote and then its candidate; they become durable together, with the candidate.
//
// Safe for concurrent use.
type ballots struct {
	backend
	file *os.File
	mu   struct {
		sync.Mutex
		kept   ballot // durable
		staged uint64 // the term of the vote whose candidate follows
	}
}

// openBallots opens or creates the file, and moves into it what the store holds. It fails when the file is gone or damaged.
func openBallots(path string, under backend) (*ballots, error) {
	b := &ballots{backend: under}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = b.create(path)
	} else if err == nil {
		err = b.load(path, raw)
	}
	if err != nil {
		if b.file != nil {
			b.file.Close()
		}
		return nil, fmt.Errorf("raft votes: %w", err)
	}
	b.mu.staged = b.mu.kept.voteTerm
	return b, nil
}

func (b *ballots) create(path string) (err error) {
	moved, err := absent(b.backend.Get(movedKey))
	if err == nil && len(moved) > 0 {
		return fmt.Errorf("%s is missing: what this node voted for is not known", path)
	}
	if err == nil {
		b.mu.kept.candidate, err = absent(b.backend.Get([]byte(candidateKey)))
	}
	if err == nil {
		b.mu.kept.term, err = absent(b.backend.GetUint64([]byte(termKey)))
	}
	if err == nil {
		b.mu.kept.voteTerm, err = absent(b.backend.GetUint64([]byte(voteTermKey)))
	}
	if err != nil {
		return err
	}
	fresh := path + ".new" // the name says that it is whole
	if b.file, err = os.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return err
	}
	for range 2 {
		if err := b.keep(b.mu.kept); err != nil {
			return err
		}
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := errors.Join(b.file.Sync(), os.Rename(fresh, path), dir.Sync()); err != nil {
		return err
	}
	return b.backend.Set(movedKey, []byte{1})
}

// absent turns the text by which stores, and Raft with them, say that there is no such key into the zero value.
func absent[T any](v T, err error) (T, error) {
	if err != nil && err.Error() == "not found" {
		var none T
		return none, nil
	}
	return v, err
}

func (b *ballots) load(path string, raw []byte) (err error) {
	found := false
	for at := 0; at < len(raw); at += ballotSlot {
		one, ok := parseBallot(raw[at:min(len(raw), at+ballotSlot)])
		if ok && (!found || one.serial > b.mu.kept.serial) {
			b.mu.kept, found = one, true
		}
	}
	if !found {
		return fmt.Errorf("%s is damaged: what this node voted for is not known", path)
	}
	b.file, err = os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return b.backend.Set(movedKey, []byte{1}) // a crash may have come between
}

func (v *ballot) encode() []byte {
	raw := append(make([]byte, 0, ballotSlot), ballotMagic...)
	for _, n := range []uint64{v.serial, v.term, v.voteTerm, uint64(len(v.candidate))} {
		raw = binary.BigEndian.AppendUint64(raw, n)
	}
	raw = append(raw, v.candidate...)
	return binary.BigEndian.AppendUint32(raw, crc32.Checksum(raw, castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func parseBallot(raw []byte) (v ballot, ok bool) {
	if len(raw) < ballotHeader+4 || string(raw[:len(ballotMagic)]) != ballotMagic {
		return v, false
	}
	field := func(i int) uint64 { return binary.BigEndian.Uint64(raw[len(ballotMagic)+8*i:]) }
	v = ballot{serial: field(0), term: field(1), voteTerm: field(2)}
	n := field(3)
	if n > maxCandidate || ballotHeader+int(n)+4 > len(raw) {
		return v, false
	}
	end := ballotHeader + int(n)
	v.candidate = append([]byte(nil), raw[ballotHeader:end]...)
	return v, binary.BigEndian.Uint32(raw[end:]) == crc32.Checksum(raw[:end], castagnoli)
}

// keep makes a ballot durable. The caller holds the lock, or is alone.
func (b *ballots) keep(next ballot) error {
	if len(next.candidate) > maxCandidate {
		return fmt.Errorf("a candidate's name of %d bytes, at most %d", len(next.candidate), maxCandidate)
	}
	next.serial = b.mu.kept.serial + 1
	if _, err := b.file.WriteAt(next.encode(), int64(next.serial%2)*ballotSlot); err != nil {
		return fmt.Errorf("write a ballot: %w", err)
	}
	if err := syncData(b.file); err != nil {
		return fmt.Errorf("sync a ballot: %w", err)
	}
	b.mu.kept = next
	return nil
}

// SetUint64 is raft.StableStore's.
func (b *ballots) SetUint64(key []byte, value uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch string(key) {
	case termKey:
		next := b.mu.kept
		next.term = value
		return b.keep(next)
	case voteTermKey:
		b.mu.staged = value
		return nil
	}
	return b.backend.SetUint64(key, value)
}

// Set is raft.StableStore's.
func (b *ballots) Set(key, value []byte) error {
	if string(key) != candidateKey {
		return b.backend.Set(key, value)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.mu.kept
	next.voteTerm, next.candidate = b.mu.staged, append([]byte(nil), value...)
	return b.keep(next)
}

// GetUint64 is raft.StableStore's.
func (b *ballots) GetUint64(key []byte) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch string(key) {
	case termKey:
		return b.mu.kept.term, nil
	case voteTermKey:
		return b.mu.kept.voteTerm, nil
	}
	return b.backend.GetUint64(key)
}

// Get is raft.StableStore's.
func (b *ballots) Get(key []byte) ([]byte, error) {
	if string(key) != candidateKey {
		return b.backend.Get(key)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]byte(nil), b.mu.kept.candidate...), nil
}

// Close closes both.
func (b *ballots) Close() error { return errors.Join(b.file.Close(), b.backend.Close()) }
