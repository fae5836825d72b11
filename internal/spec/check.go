package spec

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Problem is something wrong with a set, as [Check] finds it.
type Problem struct {
	Program string // "" for the daemon's own settings
	Key     string // "" for the program as a whole
	Message string
	Hint    string
}

// CheckName returns why name can't be the name of a program, or "". Blanks are
// allowed where blanks is set, as INI files do.
func CheckName(name string, blanks bool) string {
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return "the name is empty"
	case n > 64:
		return fmt.Sprintf("the name has %d characters, more than 64", n)
	case !utf8.ValidString(name):
		return "the name is not UTF-8"
	case name == "." || name == "..":
		return "the name can't be a folder's"
	}
	for _, r := range name {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r), strings.ContainsRune("_-.", r):
		case r == ' ' && blanks:
		default:
			return fmt.Sprintf("the name holds %q; use letters, digits, _ - and .", r)
		}
	}
	return ""
}

// Check returns what is wrong with a set beyond single values: names that
// collide in files, unknown names and cycles in after and requires, no command,
// ways to be ready that contradict each other. It reports
// everything, in the order of the programs.
func Check(s *Set) []Problem {
	var problems []Problem
	say := func(p *Program, key, hint, format string, args ...any) {
		problems = append(problems, Problem{Program: p.Name, Key: key, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	byName := make(map[string]*Program, len(s.Programs))
	byFile := make(map[string]*Program, len(s.Programs))
	for _, p := range s.Programs {
		if byName[p.Name] != nil {
			continue // the loader tells of duplicates: it has both places
		}
		byName[p.Name] = p
		for i := range p.Instances {
			file := FileName(InstanceName(p.Name, i, p.Instances))
			if q := byFile[file]; q != nil && q != p {
				say(p, "", "rename one of them", "its files would collide with those of %q", q.Name)
				break
			}
			byFile[file] = p
			if p.Log.Stderr == Separate {
				byFile[file+".err"] = p
			}
		}
	}
	var names []string // only made when a name is unknown
	for _, p := range s.Programs {
		if p.Command.IsZero() {
			say(p, "command", `say what to run: command = "…"`, "the command is missing")
		}
		if p.Backoff.Initial > p.Backoff.Max {
			say(p, "backoff.max", "", "backoff.max (%s) is less than backoff.initial (%s)", FormatDuration(p.Backoff.Max), FormatDuration(p.Backoff.Initial))
		}
		for _, edge := range []struct {
			key  string
			deps []string
		}{{"after", p.After}, {"requires", p.Requires}} {
			for _, dep := range edge.deps {
				if q := byName[dep]; q != nil {
					if q.Schedule != "" {
						say(p, edge.key, "run the two as one task, one command after the other", "%q runs by a schedule, so nothing can come after it", dep)
					}
					continue
				}
				if names == nil {
					for n := range byName {
						names = append(names, n)
					}
					slices.Sort(names)
				}
				say(p, edge.key, didYouMean(dep, names), "no program is named %q", dep)
			}
		}
		checkProbes(p, say)
		if p.OnDemand && len(p.Listen) == 0 {
			say(p, "on_demand", `say listen = ["127.0.0.1:8000"], or drop on_demand`, "on_demand needs a socket to listen on")
		}
		if p.IdleTimeout > 0 && !p.OnDemand {
			say(p, "idle_timeout", "say on_demand = true, or drop idle_timeout", "only a program that is started on demand is stopped when it is idle")
		}
		if p.Schedule == "" {
			for key, set := range map[string]bool{"timezone": p.Timezone != "", "catch_up": p.CatchUp} {
				if set {
					say(p, key, "", "%s has no meaning without a schedule", key)
				}
			}
		} else if p.OnDemand || p.Health.IsSet() || p.Ready.IsSet() {
			say(p, "schedule", "", "a program with a schedule runs to its end: ready, health and on_demand have no meaning for it")
		}
		for _, kind := range p.OnEvent.Kinds {
			if !slices.Contains(EventKinds, kind) {
				hint := didYouMean(kind, EventKinds)
				if hint == "" {
					hint = "use some of " + strings.Join(EventKinds, ", ")
				}
				say(p, "on_event.kinds", hint, "%q is not a kind of event", kind)
			}
		}
		if p.OnEvent.SecretFile != "" && p.OnEvent.URL == "" {
			say(p, "on_event.secret_file", "say on_event.url as well, or drop it", "on_event.secret_file signs what is posted, but there is no on_event.url")
		}
		if p.PTY && p.Log.Stderr != "" {
			say(p, "log.stderr", "drop log.stderr, or pty", "a program with pty writes everything to its terminal: its errors can't be told from the rest")
		} else if filepath.IsAbs(p.Log.Stderr) && p.Log.Stderr == p.Log.File && p.Log.Format != LogJSON { // an object says which it is of
			say(p, "log.stderr", "drop log.stderr: it is merged by default", "log.stderr and log.file are the same file")
		}
	}
	if cycle := Cycle(s); cycle != nil {
		p := byName[cycle[0]]
		say(p, "after", "drop one of them", "these wait for each other: %s", strings.Join(cycle, " → "))
	}
	checkEndpoints(s, say)
	problems = append(problems, sharedLogs(s)...)
	if w := s.Daemon.ExitWhen; w != "" && w != "never" && w != "all-done" && w != "any-failed" && byName[w] == nil {
		problems = append(problems, Problem{Key: "exit_when", Message: fmt.Sprintf("no program is named %q", w), Hint: `use never, all-done, any-failed or a program's name`})
	}
	return problems
}

// checkProbes finds ways to be ready, or healthy, that contradict each other.
func checkProbes(p *Program, say func(p *Program, key, hint, format string, args ...any)) {
	for _, probe := range []struct {
		table, what string
		isSet       bool
	}{{"ready", "ready", p.Ready.IsSet()}, {"health", "healthy", p.Health.IsSet()}} {
		if !probe.isSet {
			continue
		}
		var ways []string
		for _, way := range []string{"http", "tcp", "grpc", "exec", "log", "notify", "fd"} {
			if f := FieldOf(probe.table + "." + way); f != nil && !f.equal(p, noProbes) {
				ways = append(ways, f.Key)
			}
		}
		if len(ways) > 1 {
			say(p, ways[1], "keep one of them", "only one way says whether it is %s, but there are %s", probe.what, strings.Join(ways, ", "))
		}
		if p.Type == Task {
			say(p, ways[0], "", "a task is ready when it is done: %s has no meaning for it", probe.table)
		}
	}
}

// noProbes has none of the ways to be ready or healthy.
var noProbes = New("")

// sharedLogs finds files that two instances write, without saying that it is
// meant: nobody can tell their lines apart.
func sharedLogs(s *Set) []Problem {
	var problems []Problem
	owner := make(map[string]string)
	for _, p := range s.Programs {
		if p.Log.Shared {
			continue
		}
		for _, place := range []struct{ key, path string }{{"log.file", p.Log.File}, {"log.stderr", p.Log.Stderr}} {
			if !filepath.IsAbs(place.path) || strings.HasPrefix(place.path, "/dev/") {
				continue
			}
			var message, hint string
			switch other := owner[place.path]; {
			case other != "" && other != p.Name:
				message, hint = fmt.Sprintf("%q writes to the same file", other), "give each program a file of its own, or say log.shared = true"
			case p.Instances > 1 && !strings.Contains(place.path, InstanceMark):
				message, hint = fmt.Sprintf("its %d instances would write to the same file", p.Instances), "put ${TEND_INSTANCE} into the path"
			default:
				owner[place.path] = p.Name
				continue
			}
			problems = append(problems, Problem{p.Name, place.key, message, hint})
		}
	}
	return problems
}

// Cycle returns the names along a cycle of after, the first one again at the
// end, or nil.
func Cycle(s *Set) []string {
	if !slices.ContainsFunc(s.Programs, func(p *Program) bool { return len(p.After)+len(p.Requires) > 0 }) {
		return nil
	}
	byName := make(map[string]*Program, len(s.Programs))
	for _, p := range s.Programs {
		byName[p.Name] = p
	}
	const (
		onPath = 1
		clear  = 2
	)
	mark := make(map[string]int, len(s.Programs))
	var path []string
	var visit func(name string) []string
	visit = func(name string) []string {
		p := byName[name]
		if p == nil || mark[name] == clear {
			return nil
		}
		if mark[name] == onPath {
			start := slices.Index(path, name)
			return append(slices.Clone(path[start:]), name)
		}
		mark[name] = onPath
		path = append(path, name)
		for _, dep := range p.Befores() {
			if cycle := visit(dep); cycle != nil {
				return cycle
			}
		}
		path = path[:len(path)-1]
		mark[name] = clear
		return nil
	}
	for _, p := range s.Programs {
		if cycle := visit(p.Name); cycle != nil {
			return cycle
		}
	}
	return nil
}

// A Change is a field whose value differs between two versions of a program.
type Change struct {
	Field    *Field
	Old, New string // as a person reads them
}

// Changes returns the fields in which a and b differ, in the order of the
// table. It is empty exactly when the two are equal but for their source.
func Changes(a, b *Program) []Change {
	if a == b {
		return nil
	}
	var changes []Change
	for _, f := range Fields {
		if !f.equal(a, b) {
			changes = append(changes, Change{f, f.text(a), f.text(b)})
		}
	}
	return changes
}

// text returns the field's value in p in the form for people.
func (f *Field) text(p *Program) string {
	canonical := f.Get(p)
	if c, ok := f.ptr(p).(*Command); ok {
		canonical = c.String()
	}
	if canonical == "" {
		return "–"
	}
	return Show(strings.ReplaceAll(strings.TrimSuffix(canonical, "\n"), "\n", " "))
}

// NeedsRestart reports whether any of the changes can't be applied live.
func NeedsRestart(changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool { return c.Field.Apply == OnRestart })
}
