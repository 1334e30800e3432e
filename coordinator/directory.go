package coordinator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"muster/shard"
)

const (
	identityFile   = "identity.json"
	lockFile       = "lock"
	identityFormat = 1
)

// Founder is one of the nodes that form a group: its first voters.
type Founder struct {
	Node      shard.NodeID      `json:"node"`
	Addr      string            `json:"addr"`
	Directory shard.DirectoryID `json:"directory"`
}

// identity is what the directory remembers of itself. Fields are only ever added.
type identity struct {
	Format    int               `json:"format"`
	Directory shard.DirectoryID `json:"directory"`
	Node      shard.NodeID      `json:"node,omitempty"`     // the node it was first used for
	Group     shard.GroupID     `json:"group,omitempty"`    // empty until it is part of one
	Founders  []Founder         `json:"founders,omitempty"` // set when this node took part in the forming
	Edition   uint64            `json:"edition,omitempty"`  // of the founders, see refound
	Seat      seat              `json:"seat,omitempty"`     // what became of its vote since the forming
	Session   shard.SessionID   `json:"session,omitempty"`  // the youngest that Raft granted to this directory
	Peers     []string          `json:"peers,omitempty"`    // where voters were last seen
}

// agreed reports whether this very list of founders is the one that was agreed to last.
func (id *identity) agreed(group shard.GroupID, founders []Founder, edition uint64) bool {
	return id.Group == group && id.Edition == edition && slices.Equal(id.Founders, founders)
}

// seat is what became of a directory's vote. Unset, it has one when it took part in the forming.
type seat string

const (
	seatTaken seat = "taken" // it was given one
	seatLeft  seat = "left"  // it was replaced
)

// A Directory is a node's data directory, locked for this process, and its identity.
//
// The lock proves to the group that an older process on the same directory is over. That proof holds only under one
// kernel and for one lock file, so Machine is a fingerprint of exactly those: a directory that was copied, or that comes
// back after a reboot, has another one and waits for the old lease instead.
//
// Methods are safe for concurrent use. Every change is on disk when its method returns.
type Directory struct {
	path    string
	lock    *os.File
	machine shard.MachineID
	writing sync.Mutex // one writer of the file at a time
	now     atomic.Pointer[identity]
}

// OpenDirectory creates or opens the data directory and locks it. It fails with a sentence for the operator when another
// process uses it, when others than the owner may read it, when its identity is damaged, and when it holds data
// but no identity: a new one would silently disown that data.
func OpenDirectory(path string) (*Directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	d := &Directory{path: path}
	if err := d.acquire(); err != nil {
		return nil, err
	}
	if err := d.load(); err != nil {
		d.lock.Close()
		return nil, err
	}
	return d, nil
}

func (d *Directory) acquire() error {
	name := filepath.Join(d.path, lockFile)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(name)
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return shard.Errorf(shard.CodeInUse, "data directory %s is used by process %s", d.path, strings.TrimSpace(string(holder)))
		}
		return fmt.Errorf("data directory %s: lock: %w", d.path, err)
	}
	if d.machine, err = fingerprint(f); err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("data directory %s: lock: %w", d.path, err)
	}
	d.lock = f
	return nil
}

// fingerprint names the running kernel and the lock file.
func fingerprint(lock *os.File) (shard.MachineID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(lock.Fd()), &st); err != nil {
		return "", err
	}
	boot, err := bootID()
	if err != nil {
		return "", err
	}
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d:%d", machine, boot, st.Dev, st.Ino))
	return shard.MachineID(hex.EncodeToString(sum[:16])), nil
}

func (d *Directory) load() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	info, err := os.Stat(d.path)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	fresh := !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() != lockFile && e.Name() != identityFile+".new"
	})
	if fresh {
		return d.found()
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("data directory %s: permissions %o let others in: run chmod 700 on it", d.path, info.Mode().Perm())
	}
	b, err := os.ReadFile(filepath.Join(d.path, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("data directory %s holds files but no %s: it is not a data directory, or its identity was removed", d.path, identityFile)
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	var id identity
	if err := json.Unmarshal(b, &id); err != nil {
		return fmt.Errorf("data directory %s: %s is damaged: %w", d.path, identityFile, err)
	}
	switch {
	case id.Format > identityFormat:
		return fmt.Errorf("data directory %s: %s has format %d, newer than this program's %d", d.path, identityFile, id.Format, identityFormat)
	case id.Format < 1 || id.Directory == "":
		return fmt.Errorf("data directory %s: %s is damaged: it names no directory", d.path, identityFile)
	}
	d.now.Store(&id)
	return nil
}

// found gives an empty directory its identity.
func (d *Directory) found() error {
	if err := os.Chmod(d.path, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return d.update(func(id *identity) {
		*id = identity{Format: identityFormat, Directory: shard.DirectoryID(uuid.NewString())}
	})
}

// update changes the identity and returns when the change is durable.
func (d *Directory) update(change func(*identity)) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	var next identity
	if now := d.now.Load(); now != nil {
		next = *now
	}
	change(&next)
	b, err := json.MarshalIndent(next, "", "  ")
	if err == nil {
		err = replaceFile(filepath.Join(d.path, identityFile), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("data directory %s: %w", d.path, err)
	}
	d.now.Store(&next)
	return nil
}

// replaceFile makes the file hold b, wholly or not at all, whatever happens meanwhile.
func replaceFile(name string, b []byte) error {
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// Path joins a file name to the directory's.
func (d *Directory) Path(name string) string { return filepath.Join(d.path, name) }

// ID names the directory.
func (d *Directory) ID() shard.DirectoryID { return d.now.Load().Directory }

// Machine names the kernel and the lock file the directory is held under.
func (d *Directory) Machine() shard.MachineID { return d.machine }

// Group is the group the directory belongs to, "" for none.
func (d *Directory) Group() shard.GroupID { return d.now.Load().Group }

// Session is the youngest session the directory has confirmed, 0 for none.
func (d *Directory) Session() shard.SessionID { return d.now.Load().Session }

// claim ties the directory to a node id, for good.
func (d *Directory) claim(node shard.NodeID) error {
	switch owner := d.now.Load().Node; owner {
	case node:
		return nil
	case "":
		return d.update(func(id *identity) { id.Node = node })
	default:
		return shard.Invalid("data directory %s belongs to node %s, not %s", d.path, owner, node)
	}
}

// founder reports whether this directory took part in forming its group.
func (d *Directory) founder() bool {
	id := d.now.Load()
	return slices.ContainsFunc(id.Founders, func(f Founder) bool { return f.Directory == id.Directory })
}

// seated reports whether the node is to run Raft.
func (d *Directory) seated() bool {
	s := d.now.Load().Seat
	return s == seatTaken || s == "" && d.founder()
}

// sit notes what became of this directory's vote.
func (d *Directory) sit(s seat) error {
	if d.now.Load().Seat == s {
		return nil
	}
	return d.update(func(id *identity) { id.Seat = s })
}

// form notes that this directory is one of the group's founders.
func (d *Directory) form(group shard.GroupID, founders []Founder, edition uint64) error {
	return d.update(func(id *identity) { id.Group, id.Founders, id.Edition = group, founders, edition })
}

// confirm notes that the group granted the session to this directory. The session may be used only afterwards: should the
// directory ever come back without the note, it was set back, and the group can tell.
func (d *Directory) confirm(group shard.GroupID, s shard.SessionID) error {
	return d.update(func(id *identity) { id.Group, id.Session = group, s })
}

// peers are the addresses where voters were last seen.
func (d *Directory) peers() []string { return d.now.Load().Peers }

// remember notes where the voters are now, so that a restart finds the group when the seeds are gone.
func (d *Directory) remember(peers []string) error {
	if slices.Equal(d.peers(), peers) {
		return nil
	}
	return d.update(func(id *identity) { id.Peers = peers })
}

// Close gives up the lock. It comes after everything else that uses the directory.
func (d *Directory) Close() error { return d.lock.Close() }
