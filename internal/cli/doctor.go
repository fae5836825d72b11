package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tend/api"
)

// DoctorOptions says what Deps.Doctor is to look at.
type DoctorOptions struct {
	State, Logs string // folders

	// What a running daemon says.
	Daemon    *api.Daemon // nil: none runs, or none that answers
	Unasked   string      // why a daemon that runs can't be asked
	Instances []api.Instance
}

func (a *app) doctorCommand() *cobra.Command {
	var config string
	var all bool
	cmd := a.does(&cobra.Command{
		Use:     "doctor",
		Short:   "show what this machine allows, and what therefore holds",
		GroupID: groupLook,
		Long: `Tries what the kernel, the container and the user allow, and says what holds for
programs: how a tree is stopped, how a crash of tend is survived, what is known
of what ends meanwhile, how many programs fit; and of each weakness what to do.
It needs no daemon; where one runs, it is about that one. The exit status is 1
when something is a problem; warnings don't fail.`,
		Example: `  tend doctor
  tend doctor --json | jq -r '.findings[] | select(.level != "ok") | .title'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(ctx context.Context, _ *cobra.Command, _ []string) error {
		return a.doctor(ctx, config, all)
	})
	cmd.Flags().StringVarP(&config, "config", "c", "", "`path` of the configuration whose folders are meant")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show all that was tried")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) doctor(ctx context.Context, config string, all bool) error {
	if a.deps.Doctor == nil {
		return failed("doctor isn't built in")
	}
	d := a.deps.Doctor(a.doctorOptions(ctx, config))
	var err error
	if a.json {
		err = a.printJSON(d)
	} else {
		columns, _ := a.out.size()
		_, err = a.out.Write([]byte(a.doctorText(d, columns, all)))
	}
	if err == nil && d.Worst() == api.LevelProblem {
		err = exits(exitFailed)
	}
	return err
}

// doctorOptions asks the daemon, if there is one. That it can't be asked is no
// reason not to look at the rest.
func (a *app) doctorOptions(ctx context.Context, config string) (o DoctorOptions) {
	o.State = a.doctorState(config)
	o.Logs = filepath.Join(o.State, "logs")
	if o.State == systemState {
		o.Logs = systemLogs
	}
	if config != "" {
		return o // which may not be that of the daemon
	}
	c := a.connect()
	d, err := c.Daemon(ctx)
	if err == nil {
		o.Instances, err = c.Instances(ctx)
	}
	if err != nil {
		if !errors.Is(err, api.ErrNoDaemon) {
			for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
				err = inner // where it was is said already
			}
			o.Unasked = err.Error()
		}
		return o
	}
	o.Daemon, o.State, o.Logs = d, d.State, d.Logs
	return o
}

// doctorState returns the state folder that tend run would have here.
func (a *app) doctorState(config string) string {
	if p, ok := a.namedPlace(); ok && config == "" {
		return absolute(filepath.Dir(p.socket))
	}
	if a.deps.StateDir != nil {
		if dir, err := a.deps.StateDir(config); err == nil {
			return absolute(dir)
		}
	}
	return absolute(stateFolder) // of tend run -- COMMAND
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// systemLogs is the folder of the logs that belongs to systemState.
const systemLogs = "/var/log/tend"

// quietAreas are named in one line as long as all is well with them.
var quietAreas = []string{"processes", "memory", "proc", "inotify", "clock", "systemd"}

// guaranteeLabels are the guarantees' names where there is little room.
var guaranteeLabels = map[string]string{
	api.GuaranteeStop: "stop", api.GuaranteeCrash: "crash of tend", api.GuaranteeStatus: "exit status",
	api.GuaranteeOutput: "output", api.GuaranteeRoom: "room",
}

// labelWidth is the column of the marks.
const labelWidth = 13

// doctorText lays d out in that many columns, 0 for as many as it takes. Whoever
// looks shall see in a moment whether anything is wrong: what is well is a line
// an area, and the verdict comes last, where the eye is.
func (a *app) doctorText(d *api.Doctor, columns int, all bool) string {
	w := doctorWriter{screen: a.out, columns: columns, said: make(map[string]bool)}
	var quiet []string
	for i := 0; i < len(d.Findings); {
		area := d.Findings[i].Area
		n := i
		for n < len(d.Findings) && d.Findings[n].Area == area {
			n++
		}
		list := d.Findings[i:n]
		i = n
		if !all {
			if fine(list) && slices.Contains(quietAreas, area) {
				quiet = append(quiet, area)
				continue
			}
			list = slices.DeleteFunc(slices.Clone(list), func(f api.Finding) bool {
				return f.Level == api.LevelOK && f.ID != list[0].ID
			})
		}
		for k, f := range list {
			label := ""
			if k == 0 {
				label = area
			}
			detail := f.Detail
			if f.Level == api.LevelOK && !all {
				detail = ""
			}
			w.entry(label, f.Level, f.Title, detail, f.Hint)
		}
	}
	if len(quiet) > 0 {
		w.entry("also fine", api.LevelOK, strings.Join(quiet, ", "), "", "")
	}
	w.blank()
	for _, g := range d.Guarantees {
		why := g.Why
		if g.Level == api.LevelOK && !all {
			why = ""
		}
		w.entry(guaranteeLabels[g.ID], g.Level, g.Text, why, g.Hint)
	}
	w.programs(d.Programs, all)
	w.blank()
	w.verdict()
	return w.String()
}

func fine(list []api.Finding) bool {
	return !slices.ContainsFunc(list, func(f api.Finding) bool { return f.Level != api.LevelOK })
}

// doctorWriter writes entries of a label, a mark and texts.
type doctorWriter struct {
	strings.Builder
	screen             *screen
	columns            int
	said               map[string]bool // titles and hints
	problems, warnings int
}

func (w *doctorWriter) blank() { w.WriteByte('\n') }

// entry writes one, with what to do on a line of its own. What was said already
// isn't said again.
func (w *doctorWriter) entry(label, level, title, detail, hint string) {
	if w.said[detail] {
		detail = ""
	}
	if w.said[hint] {
		hint = ""
	}
	w.said[title], w.said[hint] = true, true
	mark, st := "✓", green
	switch level {
	case api.LevelWarning:
		mark, st = "!", yellow
		w.warnings++
	case api.LevelProblem:
		mark, st = "✗", red
		w.problems++
	}
	label = clean(label)
	w.WriteString(w.screen.paint(bold, label) + pad("", labelWidth+1-width(label)) + w.screen.paint(st, mark) + " ")
	const at = labelWidth + 3
	if detail != "" && level == api.LevelOK {
		// An aside; a weakness has it on a line of its own.
		title, detail = title+" · "+detail, ""
	}
	w.wrapped(at, plain, title)
	if detail != "" {
		w.WriteString(strings.Repeat(" ", at))
		w.wrapped(at, plain, detail)
	}
	if hint != "" && level != api.LevelOK {
		w.WriteString(strings.Repeat(" ", at) + w.screen.paint(cyan, "→ "))
		w.wrapped(at+2, cyan, hint)
	}
}

// wrapped writes text, broken at blanks so that it stays right of column at.
func (w *doctorWriter) wrapped(at int, st style, text string) {
	room := w.columns - at
	var line string
	flush := func(more bool) {
		w.WriteString(w.screen.paint(st, line) + "\n")
		if more {
			w.WriteString(strings.Repeat(" ", at))
		}
	}
	for word := range strings.FieldsSeq(clean(text)) {
		switch {
		case line == "":
			line = word
		case w.columns > 0 && width(line)+1+width(word) > max(room, 20):
			flush(true)
			line = word
		default:
			line += " " + word
		}
	}
	flush(false)
}

// programs says which programs that run have other guarantees than the rest.
func (w *doctorWriter) programs(list []api.DoctorProgram, all bool) {
	if len(list) == 0 {
		return
	}
	label, same := "programs", 0
	for _, p := range list {
		if p.Differs == "" && !all {
			same++
			continue
		}
		text, detail := p.Differs, ""
		if all {
			text = "stop " + p.Stop + ", crash " + p.Crash + ", status " + p.Status + ", output " + p.Output
			detail = p.Differs
		}
		// What holds for all is counted already.
		problems, warnings := w.problems, w.warnings
		w.entry(label, p.Level, p.Name+": "+text, detail, p.Hint)
		if p.Differs == "" {
			w.problems, w.warnings = problems, warnings
		}
		label = ""
	}
	most := ""
	switch {
	case same == 0:
		return
	case same < len(list):
		most = strconv.Itoa(same) + " more"
	case same == 1:
		most = "the one that runs"
	case same == 2:
		most = "both that run"
	default:
		most = "all " + strconv.Itoa(same) + " that run"
	}
	w.entry(label, api.LevelOK, "what is said above holds for "+most, "", "")
}

// verdict sums up.
func (w *doctorWriter) verdict() {
	switch {
	case w.problems > 0 && w.warnings > 0:
		fmt.Fprintf(w, "%s %s, %s\n", w.screen.paint(red, "✗"), count(w.problems, "problem"), count(w.warnings, "warning"))
	case w.problems > 0:
		fmt.Fprintf(w, "%s %s\n", w.screen.paint(red, "✗"), count(w.problems, "problem"))
	case w.warnings > 0:
		fmt.Fprintf(w, "%s no problem, %s\n", w.screen.paint(yellow, "!"), count(w.warnings, "warning"))
	default:
		fmt.Fprintf(w, "%s nothing is wrong\n", w.screen.paint(green, "✓"))
	}
}
