package journal_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"muster/journal"
)

// Pages are overwritten, each in turn and as a whole: with zeros, with ones, with noise and with a page beside. One that holds anything is
// missed: Open refuses, or an audit reports a copy. Any other is free, and all is told as before.
func TestOverwrittenPages(t *testing.T) {
	path, w := compacted(t)
	raw, err := os.ReadFile(path)
	must(t, err)
	used, err := journal.UsedPages(path)
	must(t, err)
	noise := make([]byte, 4096)
	random := rand.New(rand.NewPCG(7, 8))
	outcomes := map[string]int{}
	for page := range len(raw) / 4096 {
		was := raw[page*4096 : (page+1)*4096]
		if !used[page] && bytes.Equal(was, make([]byte, 4096)) && page%512 > 0 {
			continue // most of a small file, and all alike
		}
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		beside := (page ^ 1) % (len(raw) / 4096) * 4096 // of a root the other one
		for name, now := range map[string][]byte{
			"zeros": make([]byte, 4096), "ones": bytes.Repeat([]byte{255}, 4096), "noise": noise, "the page beside": raw[beside : beside+4096],
		} {
			if bytes.Equal(now, was) {
				continue
			}
			overwrite(t, path, page, now)
			result, err := w.afterRot(path, true)
			if err != nil {
				t.Errorf("%s in page %d: %v", name, page, err)
			}
			sound := audited(path)
			if outcomes[result]++; used[page] && sound {
				t.Errorf("%s in page %d, which is in use: the audit finds nothing, and reading was %s", name, page, result)
			}
			if !used[page] && (result != "harmless" || !sound) {
				t.Errorf("%s in page %d, which is free: %s", name, page, result)
			}
			overwrite(t, path, page, was)
		}
	}
	t.Log(outcomes, len(raw)/4096)
}

func overwrite(t *testing.T, path string, page int, with []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(with, int64(page)*4096)
	must(t, err)
	must(t, f.Close())
}

// audited reports whether a file is sound, as "muster journal verify" sees it.
func audited(path string) bool {
	j, err := journal.Open(path, journal.Options{ReadOnly: true})
	if err != nil {
		return false
	}
	defer j.Close()
	for _, a := range j.Audit() {
		if a.Damaged != nil {
			return false
		}
	}
	return true
}
