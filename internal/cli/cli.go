// Package cli is the command line: one file a command, over the client of
// package api.
//
// It asks a daemon and shows the answer, as tables for people and as JSON with
// --json. It doesn't guard programs, nor read their configuration: what run,
// check and up need of that comes in through [Deps], from cmd/tend, where
// everything meets.
//
// Exit statuses are a promise: 0 done; 1 it failed, and said why; 2 wrong usage,
// and plan's "there is something to do"; 3 status found something that is wanted
// and not up; 4 no daemon answers.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tend/api"
)

// Deps is what the commands need from outside. Of the functions, those that are
// nil make their command say that it isn't built in.
type Deps struct {
	Version string

	// Run guards programs in the foreground and returns the exit status.
	Run func(ctx context.Context, o RunOptions) int

	// ByName is supervisord or supervisorctl, as the name says, with their own
	// arguments, and returns the exit status.
	ByName func(name string, args []string) int

	// Check loads the configuration at path, or the one that Run would find
	// where path is "". The error says that there is none or that it can't be
	// read; what is wrong within it are diagnostics, with their Text rendered.
	Check func(path string) (*api.Check, error)

	// Import returns a tend.toml that does what the file at path does. Where that
	// has errors it returns nil and what is wrong, with the Text rendered.
	Import func(path string) ([]byte, []api.Diagnostic)

	// StateDir returns the folder in which a daemon of the configuration at path
	// ("" is searched for) keeps its socket, leaving --state and $TEND_STATE
	// aside. Where it is nil, that is .tend beside the file.
	StateDir func(path string) (string, error)

	// SelfTest shows that this version can go on from the ledger at path.
	SelfTest func(path, version string) error

	// Schema returns the JSON Schema of the configuration.
	Schema func() []byte

	// Top shows the dashboard until the user leaves it.
	Top func(ctx context.Context, o TopOptions) error

	// Doctor looks at the machine and concludes what holds for programs.
	Doctor func(o DoctorOptions) *api.Doctor

	Stdin          io.Reader // nil stands for os.Stdin
	Stdout, Stderr io.Writer // nil stands for os.Stdout and os.Stderr
}

// RunOptions says what Deps.Run is to guard.
type RunOptions struct {
	Config  string   // path; "" is searched for
	State   string   // folder; "" stands for the configured or default place
	Command []string // one command to guard instead of a configuration

	// ReadyFD is a descriptor to which "ready\n" is written when the socket
	// answers, or "error: why\n" when it never will, and which is closed then:
	// its end is what is waited for. Programs must not inherit it. 0: nobody waits.
	ReadyFD int
	// NoGuard is set where the daemon is to be the one process that there is.
	NoGuard bool
	// Supervisord is set for those who start it in supervisord's name, who may want
	// options of [supervisord], as NAME=VALUE, in place of those of the file.
	Supervisord bool
	Override    []string

	// Detached is set where tend up started it: there is no terminal, standard
	// output and error are a file.
	Detached bool
}

// Exit statuses, beside 0.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitSomeDown = 3
	exitNoDaemon = 4
)

// Main runs the command line args, without the name of the program, and returns
// its exit status.
func Main(args []string, deps Deps) int {
	return newApp(deps).main(context.Background(), args)
}

// client is what the commands use of *api.Client.
type client interface {
	Instances(ctx context.Context) ([]api.Instance, error)
	Why(ctx context.Context, pattern string) ([]api.Why, error)
	History(ctx context.Context, pattern string, o api.HistoryOptions) ([]api.Run, error)
	Act(ctx context.Context, verb, pattern string, act api.Act) (*api.Results, error)
	Add(ctx context.Context, add api.Add) (*api.Plan, error)
	Remove(ctx context.Context, name string) (*api.Plan, error)
	Scale(ctx context.Context, name string, instances int) (*api.Plan, error)
	Exec(ctx context.Context, name string) (*api.Exec, error)
	Attach(ctx context.Context, name string, o api.AttachOptions) (*api.Attachment, error)
	Plan(ctx context.Context) (*api.Plan, error)
	Reload(ctx context.Context, o api.ReloadOptions) (*api.Plan, error)
	Daemon(ctx context.Context) (*api.Daemon, error)
	Shutdown(ctx context.Context, o api.ShutdownOptions) error
	Upgrade(ctx context.Context, o api.UpgradeOptions) (*api.Upgrade, error)
	Events(ctx context.Context, since uint64, follow bool) iter.Seq2[api.Event, error]
	Logs(ctx context.Context, pattern string, o api.LogOptions) iter.Seq2[api.LogLine, error]
}

// app is one invocation.
type app struct {
	deps     Deps
	out, err *screen
	getenv   func(string) string
	now      func() time.Time
	dial     func(socket string) client
	exe      string // what up executes; "" stands for this binary

	// Global flags, and --json of those commands that have it.
	state, socket string
	noColor       bool
	json          bool

	ran bool // a command has begun: errors are no longer those of its usage
}

func newApp(deps Deps) *app {
	if deps.Stdin == nil {
		deps.Stdin = os.Stdin
	}
	if deps.Stdout == nil {
		deps.Stdout = os.Stdout
	}
	if deps.Stderr == nil {
		deps.Stderr = os.Stderr
	}
	return &app{
		deps:   deps,
		out:    newScreen(deps.Stdout, os.Getenv),
		err:    newScreen(deps.Stderr, os.Getenv),
		getenv: os.Getenv,
		now:    time.Now,
		dial:   func(socket string) client { return api.Dial(socket) },
	}
}

func (a *app) main(ctx context.Context, args []string) int {
	root := a.root()
	if args == nil {
		args = []string{} // nil would make cobra take those of the process
	}
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.ran {
		err = usageError(cmd, err)
	}
	return a.report(err)
}

// The help shows commands in the order of their work, not of the alphabet.
func init() { cobra.EnableCommandSorting = false }

// Groups of commands in the help.
const (
	groupRun    = "run"
	groupLook   = "look"
	groupChange = "change"
	groupFiles  = "files"
)

// root returns the command tree.
func (a *app) root() *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:           "tend",
		Short:         "tend keeps programs running.",
		SilenceErrors: true, // report prints them
		SilenceUsage:  true,
		Example: `  tend init                  write a tend.toml to begin with
  tend up                    start everything in the background
  tend status                see how it is
  tend run -- ./server -v    guard one command, without any file`,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		// report suggests, in its own words.
		DisableSuggestions: true,
		PersistentPreRun: func(*cobra.Command, []string) {
			if a.noColor {
				a.out.color, a.err.color = false, false
			}
		},
	}
	a.does(root, func(context.Context, *cobra.Command, []string) error {
		if version {
			return a.printVersion()
		}
		return root.Help()
	})
	root.SetOut(a.deps.Stdout)
	root.SetErr(a.deps.Stderr)
	root.SetHelpFunc(a.help)
	root.SetUsageFunc(func(c *cobra.Command) error { a.help(c, nil); return nil })
	root.Flags().BoolVar(&version, "version", false, "print the version")
	p := root.PersistentFlags()
	p.StringVar(&a.state, "state", "", "state `folder` of the daemon")
	p.StringVar(&a.socket, "socket", "", "socket `path` of the daemon")
	p.BoolVar(&a.noColor, "no-color", false, "no colour, as $NO_COLOR")
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "run"},
		&cobra.Group{ID: groupLook, Title: "look"},
		&cobra.Group{ID: groupChange, Title: "change"},
		&cobra.Group{ID: groupFiles, Title: "files"},
	)
	root.AddCommand(
		a.runCommand(), a.upCommand(), a.downCommand(),
		a.statusCommand(), a.topCommand(), a.whyCommand(), a.graphCommand(), a.logsCommand(), a.historyCommand(), a.eventsCommand(), a.attachCommand(), a.execCommand(), a.doctorCommand(),
		a.actCommand(startVerb), a.actCommand(stopVerb), a.actCommand(restartVerb), a.actCommand(runNowVerb), a.signalCommand(), a.reloadCommand(),
		a.addCommand(), a.removeCommand(), a.scaleCommand(),
		a.initCommand(), a.importCommand(), a.checkCommand(), a.planCommand(),
		a.supervisordCommand(), a.supervisorctlCommand(),
		a.upgradeCommand(), a.versionCommand(), a.completionCommand(), a.selfTestCommand(),
	)
	root.SetHelpCommand(a.helpCommand())
	return root
}

// does gives cmd what it does.
func (a *app) does(cmd *cobra.Command, do func(ctx context.Context, cmd *cobra.Command, args []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.ran = true
		return do(cmd.Context(), cmd, args)
	}
	return cmd
}

// jsonFlag gives cmd the flag --json.
func (a *app) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
}

// connect returns a client for the daemon that the flags, the environment and
// the folder speak of. Nothing is sent yet.
func (a *app) connect() client { return a.dial(a.place().socket) }

// printJSON prints v, indented for people who look at it too.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printLineJSON prints v on one line: streams are an object a line.
func (a *app) printLineJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// A failure ends a command with an exit status and, unless it was already said,
// a message.
type failure struct {
	status  int
	message string
	hint    string // what to do, as a line of its own
}

func (f *failure) Error() string { return f.message }

// failed returns the failure with status 1 and that message.
func failed(format string, args ...any) *failure {
	return &failure{status: exitFailed, message: fmt.Sprintf(format, args...)}
}

// misused returns the failure of wrong usage.
func misused(format string, args ...any) *failure {
	return &failure{status: exitUsage, message: fmt.Sprintf(format, args...)}
}

// exits returns the failure that only sets the exit status.
func exits(status int) error { return &failure{status: status} }

// report says what went wrong and returns the exit status for it.
func (a *app) report(err error) int {
	var f *failure
	var e *api.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &f):
		if f.message != "" {
			a.complain(f.message, f.hint)
		}
		return f.status
	case errors.Is(err, api.ErrNoDaemon):
		a.complain("no daemon answers in "+a.place().shown, "")
		fmt.Fprintln(a.err, "  start one: tend up")
		return exitNoDaemon
	case errors.As(err, &e):
		if a.diagnose(e.Diagnostics) > 0 {
			return exitFailed
		}
		a.complain(e.Message, e.Hint)
		if e.Kind == api.KindBadRequest {
			return exitUsage
		}
		return exitFailed
	}
	hint := ""
	if errors.Is(err, api.ErrEnded) {
		hint = "what was asked for may have been begun: see how things are: tend status"
	}
	if h := (interface{ Hint() string })(nil); errors.As(err, &h) {
		hint = h.Hint()
	}
	a.complain(err.Error(), hint)
	return exitFailed
}

// complain prints a message that ends a command, and what to do about it.
func (a *app) complain(message, hint string) {
	fmt.Fprintln(a.err, a.err.paint(red, "✗")+" "+cleanLines(message))
	if hint != "" {
		fmt.Fprintln(a.err, "  "+a.err.paint(dim, "hint:")+" "+cleanLines(hint))
	}
}

// note prints something that people should know, without failing.
func (a *app) note(message string) {
	fmt.Fprintln(a.err, a.err.paint(yellow, "!")+" "+cleanLines(message))
}

// diagnose prints the diagnostics as the loader rendered them and, if some are
// errors, how many. It returns that number.
func (a *app) diagnose(list []api.Diagnostic) (errors int) {
	for _, d := range list {
		if d.Severity == "error" {
			errors++
		}
		fmt.Fprintln(a.err, a.paintDiagnostic(d))
	}
	if errors > 0 {
		a.complain(count(errors, "error")+"; what runs is untouched", "")
	}
	return errors
}

// paintDiagnostic returns the text of d, with the place and the carets in colour.
func (a *app) paintDiagnostic(d api.Diagnostic) string {
	text := strings.TrimRight(d.Text, "\n")
	if text == "" {
		text = d.File
		if d.Line > 0 {
			text += fmt.Sprintf(":%d", d.Line)
		}
		if d.Key != "" {
			text += ": " + d.Key
		}
		text += ": " + d.Message
		if d.Hint != "" {
			text += "\n    hint: " + d.Hint
		}
	}
	lines := strings.Split(cleanLines(text), "\n")
	mark := red
	if d.Severity != "error" {
		mark = yellow
	}
	if at := strings.Index(lines[0], ": "); at > 0 {
		lines[0] = a.err.paint(bold, lines[0][:at+1]) + lines[0][at+1:]
	}
	for i, l := range lines {
		// "      | ^^^^^^^ did you mean …": only carets and what follows them.
		if bar := strings.Index(l, "| "); bar >= 0 && strings.HasPrefix(strings.TrimLeft(l[bar+2:], " "), "^") {
			lines[i] = l[:bar+2] + a.err.paint(mark, l[bar+2:])
		}
	}
	return strings.Join(lines, "\n")
}
