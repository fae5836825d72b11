package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tend/api"
)

func (a *app) upCommand() *cobra.Command {
	var config string
	timeout := time.Minute
	cmd := a.does(&cobra.Command{
		Use:     "up",
		Short:   "start everything in the background and wait until it is up",
		GroupID: groupRun,
		Long: `Starts a daemon in the background, if none runs, and shows the programs as they
come up. It ends when all that are wanted are up, or when it is clear that some
aren't coming: then it says which, with their last line, and the exit status is
1. What takes its time to be ready is shown with what it waits for. The daemon
stays either way.`,
		Example: `  tend up
  tend up -c staging.toml --timeout 5m`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(ctx context.Context, _ *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return a.up(ctx, config, timeout)
	})
	cmd.Flags().StringVarP(&config, "config", "c", "", "`path` of a file, or of a folder of files")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) up(ctx context.Context, config string, timeout time.Duration) error {
	at, state, unable := a.upPlace(config)
	c := a.dial(at.socket)
	d, err := c.Daemon(ctx)
	fresh := errors.Is(err, api.ErrNoDaemon)
	if fresh {
		if unable != nil {
			return unable
		}
		if state == "" {
			return err
		}
		if err = a.start(ctx, config, state); err != nil {
			return err
		}
		d, err = c.Daemon(ctx)
	}
	if err != nil {
		return err
	}
	list, err := a.watchUp(ctx, c, d.EventSeq, fresh)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // what isn't up by now is named below
	}
	if err != nil {
		return err
	}
	// The deadline may have passed: what is left to ask is quick.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	status := 0
	if a.json {
		if err := a.printJSON(list); err != nil {
			return err
		}
	}
	if down := notUp(list); len(down) > 0 {
		status = exitFailed
		a.showLastLines(ctx, c, down)
		wanted := len(wantedOf(list))
		message := fmt.Sprintf("%d of %d are up", wanted-len(down), wanted)
		if !settled(list) {
			message += " after " + span(timeout)
		}
		a.complain(message+"; tend why "+clean(down[0].Name), "")
	} else if !a.json {
		a.upSum(list)
	}
	if !fresh && d.Pending {
		a.note("the files hold changes that were not applied\n  see them: tend plan\n  apply them: tend reload")
	}
	if status != 0 {
		return exits(status)
	}
	return nil
}

// upSum says that everything is up.
func (a *app) upSum(list []api.Instance) {
	n := len(wantedOf(list))
	words := strconv.Itoa(n) + " are up"
	switch {
	case len(list) == 0:
		words = "the daemon runs; no program is configured"
	case n == 0:
		words = "the daemon runs; no program is to be started"
	case n == 1:
		words = "1 is up"
	}
	fmt.Fprintln(a.out, a.out.paint(green, "✓")+" "+words)
}

// upPlace returns where the daemon of the configuration answers, and its state
// folder. The folder is "" where nothing can be started: a socket was named. The
// error says that no configuration is here; a daemon may answer all the same.
func (a *app) upPlace(config string) (at place, state string, err error) {
	if p, ok := a.namedPlace(); ok {
		if filepath.Base(p.socket) != socketName || a.socket != "" || a.state == "" && a.getenv("TEND_SOCKET") != "" {
			return p, "", nil
		}
		return p, filepath.Dir(p.socket), nil
	}
	switch {
	case a.deps.StateDir != nil:
		if state, err = a.deps.StateDir(config); err != nil {
			return a.place(), "", err
		}
	case config == "":
		state = stateFolder
	default:
		folder := config
		if info, err := os.Stat(config); err != nil || !info.IsDir() {
			folder = filepath.Dir(config)
		}
		state = filepath.Join(folder, stateFolder)
	}
	return inState(state), state, nil
}

// start starts a daemon in the background and returns when its socket answers.
func (a *app) start(ctx context.Context, config, state string) error {
	// An error in the files is best said here, where somebody reads it.
	if a.deps.Check != nil {
		c, err := a.deps.Check(config)
		if err != nil {
			return err
		}
		for _, d := range c.Diagnostics {
			if d.Severity != "info" {
				fmt.Fprintln(a.err, a.paintDiagnostic(d))
			}
		}
		if !c.OK {
			n := 0
			for _, d := range c.Diagnostics {
				if d.Severity == "error" {
					n++
				}
			}
			return failed("%s; nothing was started", count(n, "error"))
		}
	}
	if err := makeState(state); err != nil {
		return fmt.Errorf("cannot start the daemon: %w", err)
	}
	out, err := os.OpenFile(filepath.Join(state, "daemon.out"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot start the daemon: %w", err)
	}
	defer out.Close()
	before, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("cannot start the daemon: %w", err)
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot start the daemon: %w", err)
	}
	defer ready.Close()
	exe := a.exe
	if exe == "" {
		if exe, err = os.Executable(); err != nil {
			theirs.Close()
			return fmt.Errorf("cannot start the daemon: %w", err)
		}
	}
	args := []string{"run", "--ready-fd", "3"}
	if config != "" {
		args = append(args, "--config", config)
	}
	if a.state != "" {
		args = append(args, "--state", a.state)
	}
	cmd := exec.Command(exe, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{theirs} // descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("cannot start the daemon: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	said, err := io.ReadAll(ready)
	switch why, isError := strings.CutPrefix(strings.TrimSpace(string(said)), "error: "); {
	case string(said) == "ready\n":
		return cmd.Process.Release()
	case isError:
		cmd.Wait()
		f := failed("%s", why)
		_, f.hint, _ = strings.Cut(printedSince(out, before), "hint: ")
		f.hint, _, _ = strings.Cut(f.hint, "\n")
		return f
	case ctx.Err() != nil:
		cmd.Process.Release()
		return &failure{exitFailed, fmt.Sprintf("the daemon (pid %d) is not ready yet", cmd.Process.Pid), "see what it prints: " + out.Name()}
	case err != nil:
		return fmt.Errorf("cannot hear from the daemon: %w", err)
	}
	// It ended without a word for us. What it printed says why.
	ended := cmd.Wait()
	io.WriteString(a.err, cleanLines(printedSince(out, before)))
	if ended == nil {
		return failed("the daemon ended at once")
	}
	return failed("the daemon ended: %v", ended)
}

// makeState makes the state folder as the daemon would: one in a project stays
// out of its commits.
func makeState(folder string) error {
	if _, err := os.Stat(folder); err == nil {
		return nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if filepath.Base(folder) != stateFolder {
		return nil
	}
	return os.WriteFile(filepath.Join(folder, ".gitignore"), []byte("*\n"), 0o644)
}

// printedSince returns the beginning of what was written to f behind offset.
func printedSince(f *os.File, offset int64) string {
	text, _ := io.ReadAll(io.NewSectionReader(f, offset, 64<<10)) // whatever can be read helps
	return string(text)
}

// longWait is a backoff from which on a program isn't said to be coming up.
const longWait = time.Second

// manyStarts is a number of starts from which on a program that is in backoff
// isn't said to be coming up, however short its waits are.
const manyStarts = 5

// settled reports whether nothing of list is on its way up any more: all that is
// wanted is up, or some never will be and only those that wait for them remain, or
// for what nobody wants.
func settled(list []api.Instance) bool {
	waits, lost, busy := false, false, false
	for _, i := range wantedOf(list) {
		switch {
		case i.Up():
			busy = busy || i.State == api.Running && !i.Ready // a task: its end is waited for
		case i.State == api.Failed, i.State == api.Exited:
			lost = true
		case i.State == api.Backoff && (i.Generation >= manyStarts || i.NextRun != nil && i.NextRun.Sub(i.Since) >= longWait):
			lost = true
		case i.State == api.Waiting:
			waits = true
		default:
			return false
		}
	}
	return !waits || lost || !busy
}

// wantedOf returns those of list that are wanted.
func wantedOf(list []api.Instance) (wanted []api.Instance) {
	for _, i := range list {
		if i.Wanted {
			wanted = append(wanted, i)
		}
	}
	return wanted
}

// notUp returns those of list that aren't where they are wanted, worst first:
// those that merely wait come behind those that they wait for.
func notUp(list []api.Instance) (down []api.Instance) {
	var waiting []api.Instance
	for _, i := range list {
		switch {
		case i.Up():
		case i.State == api.Waiting:
			waiting = append(waiting, i)
		default:
			down = append(down, i)
		}
	}
	return append(down, waiting...)
}

// watchUp shows the programs until they are settled, and returns them as they are
// then, or with ctx's error as they were last.
func (a *app) watchUp(ctx context.Context, c client, seq uint64, fresh bool) ([]api.Instance, error) {
	streaming, cancel := context.WithCancel(ctx)
	changed := make(chan struct{}, 1) // several events before we look are one
	gone := make(chan error, 1)
	go func() {
		defer close(gone)
		for _, err := range eventsOf(streaming, c, seq, true, func(string) {}) {
			if err != nil {
				gone <- err
				return
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	defer func() {
		cancel()
		for range gone {
		}
	}()
	v := &upView{a: a, quiet: a.json, fresh: fresh}
	look := time.NewTicker(longWait)
	defer look.Stop()
	var list []api.Instance
	for {
		// Events say that something changed, the list says what is: so neither a
		// missed event nor one of an unknown kind leads astray.
		next, err := c.Instances(ctx)
		if err != nil {
			return list, errors.Join(ctx.Err(), err)
		}
		list = next
		v.show(wantedOf(list))
		if settled(list) {
			return list, nil
		}
		select {
		case <-changed:
		case <-look.C: // what a start still waits for is no event
		case err := <-gone:
			if ctx.Err() != nil {
				return list, ctx.Err()
			}
			if err == nil {
				err = failed("the daemon has ended")
			}
			return list, err
		case <-ctx.Done():
			return list, ctx.Err()
		}
	}
}

// showLastLines prints the last line that each of down wrote, for the first few.
func (a *app) showLastLines(ctx context.Context, c client, down []api.Instance) {
	const few = 5
	for _, i := range down[:min(few, len(down))] {
		if i.State == api.Waiting || i.Generation == 0 {
			continue
		}
		for l, err := range c.Logs(ctx, i.Name, api.LogOptions{Lines: 1}) {
			if err != nil {
				break // it was only a service
			}
			if text := strings.TrimSpace(l.Text); text != "" {
				line := "  " + clean(i.Name) + " | " + clean(text)
				if columns, _ := a.err.size(); columns > 0 {
					line = cut(line, columns)
				}
				fmt.Fprintln(a.err, line)
			}
		}
	}
}

// An upView shows programs coming up: a table that is redrawn in place where it
// fits on a terminal, else a line each time that one is up, or fails, and in the
// end for those that wait in vain.
type upView struct {
	a     *app
	quiet bool
	fresh bool // the daemon was just started: all that is up is news

	began map[string]bool   // was seen before it was up
	said  map[string]string // the last line of each, without in-place drawing
	drawn []string          // the lines on the terminal
	plain bool              // the table didn't fit
}

func (v *upView) show(list []api.Instance) {
	if v.quiet {
		return
	}
	first := v.began == nil
	if first {
		v.began, v.said = make(map[string]bool), make(map[string]string)
	}
	now, names := v.a.now(), 0
	for _, i := range list {
		names = max(names, width(clean(i.Name)))
		v.began[i.Name] = v.began[i.Name] || !i.Up() || first && v.fresh
	}
	columns, rows := v.a.out.size()
	if !v.a.out.tty || len(list)+2 > rows {
		v.plain = true
	}
	if !v.plain {
		lines := make([]string, len(list))
		for n, i := range list {
			lines[n] = v.line(i, names, columns, now)
		}
		v.redraw(lines)
		return
	}
	last := settled(list)
	for _, i := range list {
		news := i.State + strconv.FormatUint(i.Generation, 10)
		worth := i.Up() && v.began[i.Name]
		switch i.State {
		case api.Backoff, api.Failed, api.Exited:
			worth = true
		case api.Waiting: // in vain, with what it waits for
			worth = worth || last && !i.Up()
		case api.Starting: // for long, with what it waits for
			word := waitsFor(i)
			worth = word != "" && i.UptimeSeconds >= longWait.Seconds()
			news += word
		}
		if !worth || v.said[i.Name] == news {
			continue
		}
		v.said[i.Name] = news
		fmt.Fprintln(v.a.out, v.line(i, names, columns, now))
	}
}

// line returns how i is, in one line.
func (v *upView) line(i api.Instance, names, columns int, now time.Time) string {
	_, word, st := stateWord(i)
	if i.State == api.Running {
		word = i.State
	}
	name, words := pad(clean(i.Name), names)+"   ", pad(word, 9)
	detail := v.detail(i, now)
	if columns > 0 {
		name = cut(name, max(12, columns-30))
		detail = cut(detail, max(0, columns-1-width(name)-width(words)))
	}
	return strings.TrimRight(name+v.a.out.paint(st, words)+" "+detail, " ")
}

// detail returns what is to be said of i behind its state.
func (v *upView) detail(i api.Instance, now time.Time) string {
	switch i.State {
	case api.Running:
		began := now.Add(-seconds(i.UptimeSeconds))
		if took := i.Since.Sub(began); i.Ready && v.began[i.Name] && took > 0 {
			return "ready in " + span(took)
		}
	case api.Starting:
		return clean(waitsFor(i))
	case api.Backoff, api.Failed, api.Exited, api.Waiting, api.Stopping:
		return clean(why(i))
	}
	return ""
}

// redraw puts lines in place of those drawn before, in one write so that nothing
// flickers.
func (v *upView) redraw(lines []string) {
	same := len(lines) == len(v.drawn)
	for n := 0; same && n < len(lines); n++ {
		same = lines[n] == v.drawn[n]
	}
	if same {
		return
	}
	var b strings.Builder
	if n := len(v.drawn); n > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", n)
	}
	for _, l := range lines {
		b.WriteString("\r" + l + "\x1b[K\n")
	}
	b.WriteString("\x1b[J") // what was there of a longer table
	v.a.out.Write([]byte(b.String()))
	v.drawn = lines
}
