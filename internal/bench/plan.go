package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

const planSize = "100000x1000"

// plan runs the planner's own benchmark, which has its references in it, and judges what it prints. It takes the source and
// the go command.
func (b *bench) plan() error {
	rounds := map[string][]string{}
	var text string
	for range b.repeats {
		out, err := exec.Command("go", "test", "./coordinator/plan", "-run", "^$", "-bench", "^BenchmarkPlan$/^"+planSize+"$", "-benchtime", "3x").CombinedOutput()
		if err != nil {
			return fmt.Errorf("the planner's benchmark: %w: %s", err, out)
		}
		text += string(out)
	}
	for line := range strings.Lines(text) {
		if m := planLine.FindStringSubmatch(line); m != nil {
			rounds[m[1]] = append(rounds[m[1]], m[2])
		}
	}
	for what, list := range rounds {
		b.progress("P12  %-8s%s", what, list[len(list)-1])
	}
	b.judge("P12", atMost(1.5, "a bare greedy heap: a full plan of 100,000 shards × 3 copies on 1,000 nodes"), reported(rounds["full"], "plan/bare-heap"), "")
	for _, what := range []string{"join", "leave"} {
		b.judge("P12", atMost(2, "a plan of one node's "+what+", beyond the scan").in("ms"), reported(rounds[what], "ms/beyond-scan"), "")
	}
	return nil
}

var planLine = regexp.MustCompile(`^BenchmarkPlan/` + planSize + `/(\w+)\S*\s+\d+\s+(.*)`)

// reported are the values of a unit in lines as the testing package prints them: value, unit, value, unit.
func reported(lines []string, unit string) (values []float64) {
	for _, line := range lines {
		fields := strings.Fields(line)
		for i := 1; i < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i-1], 64); err == nil && fields[i] == unit {
				values = append(values, v)
			}
		}
	}
	return values
}
