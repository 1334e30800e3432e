package simulation_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// canaries are defects that the simulation must find. Each is a change of one file of the cores, compiled in by an overlay, so
// the cores themselves know nothing of it.
var canaries = []struct{ name, file, old, new, finds string }{
	{
		"a session is ended when half its lease is over", "coordinator/plan/sessions.go",
		"at+b.d.Times.Lease", "at+b.d.Times.Lease/2", "acts in epoch",
	},
	{
		"a new owner does not wait for the old one's lease", "coordinator/plan/recovery.go",
		"return max(0, m.left+b.d.Times.Lease-b.in.Now)", "return 0", "acts in epoch",
	},
	{
		"the longest log wins, whatever its epoch", "coordinator/plan/recovery.go",
		"\t\tb.last.Compare(a.last),", "\t\tcmp.Compare(b.last.LSN, a.last.LSN),", "I",
	},
	{
		"the recovery quorum is counted over what is left", "shard/placement.go",
		"return len(p.Copies) - p.WriteQuorum + 1",
		"n := 0\n\tfor _, c := range p.Copies {\n\t\tif c.State == CopyReady {\n\t\t\tn++\n\t\t}\n\t}\n\treturn n - p.WriteQuorum + 1", "I",
	},
	{
		"a promise is kept in memory", "replication/copy.go",
		"\t\te.Write = c.log.write(Write{Promise: epoch})", "\t\tc.log.kept = epoch", "I2",
	},
}

// A judge that misses a planted defect judges nothing.
func TestCanariesAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: five builds of the simulation with planted defects")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range canaries {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(root, c.file)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), c.old); n != 1 {
				t.Fatalf("%s has %q %d times: the canary must follow the code", c.file, c.old, n)
			}
			planted := filepath.Join(t.TempDir(), "planted.go")
			overlay := filepath.Join(t.TempDir(), "overlay.json")
			write(t, planted, strings.Replace(string(text), c.old, c.new, 1))
			replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: planted}})
			if err != nil {
				t.Fatal(err)
			}
			write(t, overlay, string(replace))
			out, err := exec.Command("go", "test", "-overlay", overlay, ".", "-run", "TestSeeds", "-args", "-n", "2000").CombinedOutput()
			if err == nil || !strings.Contains(string(out), "run it again") || !strings.Contains(string(out), c.finds) {
				t.Errorf("not found in 2000 seeds: %v\n%s", err, out)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
