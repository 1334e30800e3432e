package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hashicorp/go-hclog"
)

// What stands behind a journal's name in that of the mark of a failed sync, and of a journal that was set aside, before its number.
const (
	MarkSuffix  = ".failed-sync"
	AsideSuffix = ".aside-"
	maxAside    = 1000
)

// mark leaves the note that a sync of the journal failed, so what a later process reads from it proves nothing.
func mark(path string, why error) error {
	f, err := os.OpenFile(path+MarkSuffix, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, why)
	return errors.Join(err, f.Sync(), f.Close(), syncDir(path))
}

// Vouch removes the mark of a failed sync: the operator answers for the disk, and the next Open takes the file as it is.
// Without a mark it does nothing.
func Vouch(path string) error {
	if err := os.Remove(path + MarkSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("vouch for journal: %w", err)
	}
	return syncDir(path)
}

// SetAside renames a journal that is not open, and its mark, so that the next Open starts an empty one. It returns the
// new name. Nothing is deleted.
func SetAside(path string) (string, error) {
	for n := 1; n <= maxAside; n++ {
		aside := fmt.Sprintf("%s%s%d", path, AsideSuffix, n)
		if _, err := os.Lstat(aside); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.Rename(path, aside); err != nil {
			return "", fmt.Errorf("set journal aside: %w", err)
		}
		err := os.Rename(path+MarkSuffix, aside+MarkSuffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("set journal's mark aside: %w", err)
		}
		return aside, syncDir(path)
	}
	return "", fmt.Errorf("set journal aside: %s%s1 to %d exist already", path, AsideSuffix, maxAside)
}

// setAsideMarked sets a journal aside that carries the mark of a failed sync. A mark alone is taken away.
func setAsideMarked(path string, log hclog.Logger) error {
	if _, err := os.Stat(path + MarkSuffix); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return Vouch(path)
	}
	aside, err := SetAside(path)
	if err != nil {
		return err
	}
	log.Error("an earlier sync failed here, so the journal was set aside: its copies are lost on this node", "kept", aside)
	return nil
}
