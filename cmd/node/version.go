package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/pflag"
)

// version of the program; the release build sets it with -ldflags -X.
var version = "0.1.0"

var versionVerb = verb{
	use:     "version",
	short:   "which build this is",
	long:    "Prints the version, the commit it was built from and the Go version.",
	example: "muster version",
	output:  "muster 0.1.0 (commit 1062750, go1.26.8)",
	body: func(t *terminal, _ *pflag.FlagSet) func(context.Context, []string) error {
		return func(context.Context, []string) error {
			b := thisBuild()
			return t.show(b, func(w *columns) { w.row(b) })
		}
	},
}

type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func (b build) String() string {
	return "muster " + b.Version + " (commit " + b.Commit + ", " + b.Go + ")"
}

func thisBuild() build {
	b := build{Version: version, Commit: "unknown", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 7 {
			b.Commit = s.Value[:7]
		}
	}
	return b
}
