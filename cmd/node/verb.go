package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A verb is one thing the command can do. Its help, its flags, its documentation and its body all come from here.
type verb struct {
	use     string // the verb and its arguments: "locate TYPE ENTITY"
	short   string // what it does, in half a line
	long    string // and in whole sentences
	example string // one command line
	output  string // what that prints
	args    int    // exactly so many; optional ones are declared by most
	most    int    // at most so many, when more than args
	verbs   []verb // verbs below this one; it has no body then
	hidden  bool   // not in the help: it serves who builds the command, not who uses it

	// body declares flags on the command and returns what runs. It is called once for each command line.
	body func(t *terminal, flags *pflag.FlagSet) func(ctx context.Context, args []string) error
}

const environPrefix = "MUSTER_"

// newRoot builds the command line from the table of verbs.
func newRoot(t *terminal) *cobra.Command {
	root := &cobra.Command{
		Use: "muster", Short: "a cluster of sharded, event-sourced entities",
		Long: "muster runs the nodes of a group and talks to them. A group places each entity on exactly one node, journals its\n" +
			"events, copies them to other nodes, and brings the entity back when its node dies.\n\n" +
			"Every flag can also be set in the environment: --addr as MUSTER_ADDR, --required-quorum as MUSTER_REQUIRED_QUORUM. Any other\n" +
			"variable that begins so is an error, but for what Kubernetes sets for a service called muster.\n\n" +
			"With -o json a verb prints its result as one document on one line of stdout, watch one for each change. On stderr it\n" +
			"prints documents too: {\"note\":…} for what is worth knowing meanwhile and, when it fails, as the last line {\"error\":…} with\n" +
			"code, exit, text, outcome_unknown, shard and node. A verb that fails may have had a result all the same, as journal verify\n" +
			"has of a damaged journal. serve and dev also log to stderr.\n\n" +
			"Exit codes: 0 done; 1 failed; 2 misuse, nothing was sent or changed; 3 the group cannot answer now;\n" +
			"4 refused for safety; 5 there is no such node, shard, type, command or copy; 6 begun and not done in time, the group goes\n" +
			"on with it; 130 interrupted before it was done; 141 nobody reads the output any more.",
		SilenceUsage: true, SilenceErrors: true, Args: noSuchVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.Version = thisBuild().String()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(t.out)
	root.SetErr(t.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return misusef("%s: %w; see %s --help", name(cmd), err, cmd.CommandPath())
	})
	output := root.PersistentFlags().StringP("output", "o", "table", "table for people, json for programs: one document")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return prepare(t, cmd, output) }
	for _, v := range verbs() {
		root.AddCommand(v.command(t))
	}
	root.SetHelpCommand(helpCommand())
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args = noSuchVerb
		completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	root.AddCommand(docsVerb().command(t))
	return root
}

// helpCommand is cobra's, but a verb that does not exist is misuse.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [VERB]", Short: "help for a verb",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return misusef("there is no verb %q; see muster --help", strings.Join(args, " "))
			}
			return found.Help()
		},
	}
}

func (v verb) command(t *terminal) *cobra.Command {
	cmd := &cobra.Command{Use: v.use, Short: v.short, Long: v.long, Hidden: v.hidden, DisableFlagsInUseLine: true}
	if v.example != "" {
		cmd.Example = "  " + v.example + "\n" + indented(v.output)
	}
	if v.body == nil {
		cmd.Args = noSuchVerb
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		for _, below := range v.verbs {
			cmd.AddCommand(below.command(t))
		}
		return cmd
	}
	body := v.body(t, cmd.Flags())
	cmd.Args = v.count
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := body(cmd.Context(), args); err != nil {
			return fmt.Errorf("%s: %w", name(cmd), err)
		}
		return nil
	}
	return cmd
}

func indented(text string) string {
	if text == "" {
		return ""
	}
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}

// count checks the number of arguments.
func (v verb) count(cmd *cobra.Command, args []string) error {
	if len(args) < v.args || len(args) > max(v.args, v.most) {
		return misusef("%s: %d arguments; usage: %s", name(cmd), len(args), cmd.UseLine())
	}
	return nil
}

func noSuchVerb(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misusef("%s has no verb %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())
	}
	return nil
}

func name(cmd *cobra.Command) string {
	if path := strings.TrimPrefix(cmd.CommandPath(), "muster "); path != "muster" {
		return path
	}
	return "command line"
}

// prepare completes the flags from the environment and checks those that all verbs share.
func prepare(t *terminal, cmd *cobra.Command, output *string) error {
	if err := environment(t.environ, cmd); err != nil {
		return misuse{err}
	}
	if *output != "table" && *output != "json" {
		return misusef("%s: output %q is neither table nor json", name(cmd), *output)
	}
	t.json = *output == "json"
	return nil
}

// ofKubernetes are the variables that Kubernetes sets in every pod of a namespace that has a service called muster, or muster-something:
// MUSTER_SERVICE_HOST=10.0.0.1, MUSTER_PORT_7420_TCP=tcp://10.0.0.1:7420. No flag is called so.
var ofKubernetes = regexp.MustCompile(`^MUSTER_([A-Z0-9_]+_)?(SERVICE_HOST=|SERVICE_PORT(_[A-Z0-9_]+)?=|PORT=(tcp|udp|sctp)://|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=)`)

// environment sets every flag that the command line does not from its variable. A variable that no verb has is an error:
// a misspelt one would be silence otherwise.
func environment(environ []string, cmd *cobra.Command) error {
	var faults []error
	for _, entry := range environ {
		variable, value, _ := strings.Cut(entry, "=")
		flag, ours := strings.CutPrefix(variable, environPrefix)
		if !ours || ofKubernetes.MatchString(entry) {
			continue
		}
		flag = strings.ToLower(strings.ReplaceAll(flag, "_", "-"))
		if !flagOfSome(cmd.Root(), flag) {
			faults = append(faults, fmt.Errorf("environment: no verb has a flag --%s for %s", flag, variable))
			continue
		}
		if f := cmd.Flags().Lookup(flag); f != nil && !f.Changed {
			if err := cmd.Flags().Set(flag, value); err != nil {
				faults = append(faults, fmt.Errorf("environment: %s=%q: %w", variable, value, err))
			}
		}
	}
	return errors.Join(faults...)
}

// asksForJSON says whether errors are for programs, before a line is parsed that may have one. What the flag is worth prepare finds out.
func asksForJSON(args, environ []string) bool {
	json := slices.Contains(environ, environPrefix+"OUTPUT=json")
	for i, arg := range args {
		switch value, long := strings.CutPrefix(arg, "--output="); {
		case arg == "--":
			return json
		case long:
			json = value == "json"
		case strings.HasPrefix(arg, "-o") && len(arg) > 2:
			json = strings.TrimPrefix(arg[2:], "=") == "json"
		case (arg == "-o" || arg == "--output") && i+1 < len(args):
			json = args[i+1] == "json"
		}
	}
	return json
}

func flagOfSome(cmd *cobra.Command, flag string) bool {
	return cmd.Flags().Lookup(flag) != nil || cmd.PersistentFlags().Lookup(flag) != nil ||
		slices.ContainsFunc(cmd.Commands(), func(c *cobra.Command) bool { return flagOfSome(c, flag) })
}
