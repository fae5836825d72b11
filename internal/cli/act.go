package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tend/api"
)

// A verb is a command that acts on programs.
type verb struct {
	name, short, long, example string
}

var (
	startVerb = verb{"start", "start programs",
		`Starts programs and waits until they are up, and ready where something says
when they are; what they wait for is shown. NAME is a program, an instance or a
glob. A disabled program that is started by hand stays until the next reload.`,
		`  tend start web
  tend start 'queue:*'`}
	stopVerb = verb{"stop", "stop programs",
		`Stops programs and waits until nothing is left that they ever started.
They stay stopped until they are started, or the daemon is.`,
		`  tend stop queue
  tend stop --all`}
	restartVerb = verb{"restart", "stop programs and start them again",
		`Restarts programs as they are running, and waits until they are up. Changes in
the files aren't applied by this: tend reload does it.`,
		`  tend restart web
  tend restart queue:1 --no-wait
  tend restart queue --rolling`}
	runNowVerb = verb{"run-now", "run tasks once, whatever their schedule says",
		`Runs tasks now and waits until they have ended. What else their schedule says
stays. One that runs already is treated as its overlap says.`,
		`  tend run-now backup`}
)

// actCommand returns the command of start, stop or restart.
func (a *app) actCommand(v verb) *cobra.Command {
	var all, noWait, rolling bool
	cmd := &cobra.Command{
		Use:               v.name + " NAME…",
		Short:             v.short,
		Long:              v.long,
		Example:           v.example,
		GroupID:           groupChange,
		ValidArgsFunction: a.completeNames,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case all && len(args) > 0:
				return misused("%s takes names or --all, not both", v.name)
			case !all && len(args) == 0:
				return &failure{exitUsage, v.name + " what?", "give the name of a program, or --all"}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all programs")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "don't wait for the result")
	if v.name == restartVerb.name {
		cmd.Flags().BoolVar(&rolling, "rolling", false, "one instance after the other, each ready before the next")
	}
	a.jsonFlag(cmd)
	return a.does(cmd, func(ctx context.Context, _ *cobra.Command, names []string) error {
		if all {
			names = []string{"*"}
		}
		name, _, _ := strings.Cut(v.name, "-") // as the API calls it
		return a.act(ctx, name, names, api.Act{NoWait: noWait, Rolling: rolling})
	})
}

// abreast is how many requests go at the same time: each waits for its programs,
// so it is far more than the machine has cores, but not a connection a name.
const abreast = 64

// act does the verb to all patterns side by side and prints the results in the
// order of the patterns, each as soon as those before it are there.
func (a *app) act(ctx context.Context, verb string, patterns []string, body api.Act) error {
	type answer struct {
		results *api.Results
		err     error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := a.connect()
	answers := make([]chan answer, len(patterns))
	for i := range answers {
		answers[i] = make(chan answer, 1)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, abreast)
	wg.Go(func() {
		for i, p := range patterns {
			slots <- struct{}{}
			wg.Go(func() {
				r, err := c.Act(ctx, verb, p, body)
				answers[i] <- answer{r, err}
				<-slots
			})
		}
	})

	if !body.NoWait && (verb == startVerb.name || verb == restartVerb.name) {
		defer a.showWaits(ctx, c, patterns)()
	}
	all := api.Results{Results: []api.Result{}}
	status := 0
	names := 0 // columns of the longest name so far
	for _, p := range patterns {
		if !strings.ContainsAny(p, "*?[") {
			names = max(names, width(p))
		}
	}
	for i := range answers {
		got := <-answers[i]
		if errors.Is(got.err, api.ErrNoDaemon) && len(all.Results) == 0 {
			cancel()
			return got.err // once, not for each name
		}
		if got.err != nil {
			status = max(status, a.report(got.err))
			continue
		}
		all.Pending = all.Pending || got.results.Pending
		fresh := slices.DeleteFunc(got.results.Results, func(r api.Result) bool {
			// web and w* both mean web: it is said once.
			return slices.ContainsFunc(all.Results, func(o api.Result) bool { return o.Name == r.Name })
		})
		all.Results = append(all.Results, fresh...)
		for _, r := range fresh {
			names = max(names, width(clean(r.Name)))
		}
		for _, r := range fresh {
			if !r.OK {
				status = max(status, exitFailed)
			}
			if !a.json {
				a.showResult(r, names)
			}
		}
	}
	if a.json {
		if err := a.printJSON(all); err != nil {
			return err
		}
	}
	if verb == "restart" && all.Pending {
		a.note("the files hold changes that were not applied\n  see them: tend plan\n  apply them: tend reload")
	}
	if status != 0 {
		return exits(status)
	}
	return nil
}

// showResult prints what came of a command for one instance, behind a name that
// takes so many columns.
func (a *app) showResult(r api.Result, names int) {
	message := clean(r.Message)
	if message == "" {
		message = r.State
	}
	if !r.OK {
		message = a.out.paint(red, "✗") + " " + message
	}
	fmt.Fprintf(a.out, "%s  %s\n", pad(clean(r.Name), names), message)
}

// showWaits says on the error output what those of patterns wait for that take
// their time to be ready, until the function that it returns is called.
func (a *app) showWaits(ctx context.Context, c client, patterns []string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		said := make(map[string]string)
		look := time.NewTicker(longWait)
		defer look.Stop()
		for {
			select {
			case <-look.C:
			case <-ctx.Done():
				return
			}
			list, err := c.Instances(ctx)
			if err != nil {
				continue // the answers will tell
			}
			for _, i := range list {
				word := clean(waitsFor(i))
				if word == "" || said[i.Name] == word || !slices.ContainsFunc(patterns, func(p string) bool { return matches(p, i) }) {
					continue
				}
				said[i.Name] = word
				fmt.Fprintf(a.err, "%s  %s\n", clean(i.Name), word)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func (a *app) signalCommand() *cobra.Command {
	cmd := a.does(&cobra.Command{
		Use:   "signal SIG NAME…",
		Short: "send programs a signal",
		Long: `Sends the main process of programs a signal, by name or number. What the signal
does is up to the program: should it end by it, it is restarted as its
configuration says.`,
		Example: `  tend signal HUP nginx
  tend signal USR1 'queue:*'`,
		GroupID: groupChange,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return &failure{exitUsage, "signal what to whom?", "as in: tend signal HUP web"}
			case 1:
				if isSignal(args[0]) {
					return &failure{exitUsage, "signal " + args[0] + " to whom?", "as in: tend signal " + args[0] + " web"}
				}
				return &failure{exitUsage, "signal needs a signal and a name", "as in: tend signal HUP " + args[0]}
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return startingWith(signalNames, word), cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeNames(cmd, args[1:], word)
		},
	}, func(ctx context.Context, _ *cobra.Command, args []string) error {
		return a.act(ctx, "signal", args[1:], api.Act{Signal: args[0]})
	})
	a.jsonFlag(cmd)
	return cmd
}

// signalNames are offered by the completion; the daemon knows all of them.
var signalNames = []string{"HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH", "CONT", "STOP", "KILL", "ABRT", "ALRM", "TSTP", "TTIN", "TTOU"}

// isSignal reports whether s looks like a signal rather than a name.
func isSignal(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil || slices.Contains(signalNames, strings.TrimPrefix(strings.ToUpper(s), "SIG"))
}
