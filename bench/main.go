// Bench holds tend against the limit and against its peers.
//
// It runs tend, a program in C that does nothing but vfork, exec and wait (the
// limit), and those of supervisord, runit and s6 that are installed, one after
// the other, several rounds, on this machine, over the same guarded program
// (csrc/probe.c), and prints a Markdown table of medians and of ratios to the
// limit. A whole run also puts the table into docs/explanation/performance.md,
// where what is measured is explained.
//
//	go run ./bench [-rounds N] [-n N] [-only PARTS] [-peers NAMES] [-tend PATH] [-page PATH]
//	go run ./bench -load [-rounds N] [-n N] [-tend PATH] [-page PATH]
//	go run ./bench -logs [-quick] [-rounds N] [-peers NAMES] [-tend PATH] [-page PATH]
//
// With -logs it compares how output is carried into rotated files: beside a loop in
// C and loggers, a table of its own on the same page.
//
// With -load it looks at tend alone: how it answers while two hundred pages are open
// and hundreds of programs die and are restarted, the third table.
//
// It doesn't profile and doesn't compare with earlier runs. It runs in the module's root, needs a C compiler and some
// minutes on a machine that does nothing else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	defaultPage = "docs/explanation/performance.md"

	// A contender that takes so long for a scenario is spared its next rounds.
	tedious = 30 * time.Second
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 3, "how often everything is measured, in turn")
	n := flags.Int("n", 1000, "`programs` of the big fleet")
	only := flags.String("only", "", "measure these `parts` only, of "+strings.Join(parts(), ","))
	peers := flags.String("peers", "supervisord,runit,s6", "compare with these `names`; empty for none")
	binary := flags.String("tend", "", "`path` of the binary; built from ./cmd/tend when empty; none leaves tend out")
	page := flags.String("page", "", "put the table into this `file`; "+defaultPage+" after a whole run")
	logs := flags.Bool("logs", false, "compare how output is carried into files instead")
	load := flags.Bool("load", false, "look at tend alone, with many pages open and in a storm of events")
	quick := flags.Bool("quick", false, "with -logs: a quarter of a GiB each time instead of one")
	timeout := flags.Duration("timeout", time.Minute, "give up on what doesn't come in this `time`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *rounds < 1 || *n < 1 {
		return errors.New("cannot run: -rounds and -n start at 1, and there are no arguments")
	}
	whole := true
	flags.Visit(func(f *flag.Flag) { whole = whole && !slices.Contains([]string{"n", "only", "peers"}, f.Name) })
	wanted, err := choose("-only", *only, parts())
	if err != nil {
		return err
	}
	var rivals map[string]bool
	if !*logs {
		if rivals, err = choose("-peers", *peers, []string{"supervisord", "runit", "s6"}); err != nil {
			return err
		}
	}

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := becomeSubreaper(); err != nil {
		return err
	}
	tools, err := os.MkdirTemp("", "tend-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tools)
	if *logs {
		if *binary == "" {
			if *binary, err = buildTend(tools); err != nil {
				return err
			}
		}
		if *binary, err = filepath.Abs(*binary); err != nil {
			return err
		}
		total := 1 << 30
		if *quick {
			total >>= 2
		}
		b := &bench{ctx: ctx, timeout: *timeout, sheet: newSheet(*rounds)}
		text, err := b.logs(tools, *binary, total, *rounds)
		if err != nil {
			return err
		}
		return publish(text, *page, beginLogs)
	}
	probe, err := compileProbe(tools)
	if err != nil {
		return err
	}
	if *load {
		b := &bench{ctx: ctx, probe: probe, n: *n, timeout: *timeout, sheet: newSheet(*rounds)}
		text, err := b.load(*binary, bigCrowd, *rounds)
		if err != nil {
			return err
		}
		return publish(text, *page, beginLoad)
	}
	limitBinary, err := compileLimit(tools)
	if err != nil {
		return err
	}
	contenders := []*contender{limit(limitBinary)}
	switch *binary {
	case "none":
		whole = false
	case "":
		built, err := buildTend(tools)
		if err != nil {
			return err
		}
		contenders = append(contenders, tend(built))
	default:
		abs, err := filepath.Abs(*binary)
		if err != nil {
			return err
		}
		contenders = append(contenders, tend(abs))
	}
	for _, c := range []*contender{supervisord(), runit(), s6()} {
		if rivals[c.name] {
			contenders = append(contenders, c)
		}
	}

	b := &bench{ctx: ctx, probe: probe, n: *n, timeout: *timeout, only: wanted, sheet: newSheet(*rounds)}
	began := time.Now()
	columns, err := b.compare(contenders, *rounds)
	if err != nil {
		return err
	}
	about := []string{
		machine(runtime.NumCPU(), runtime.Version(), began.UTC().Format(time.DateOnly)),
		versions(columns) + fmt.Sprintf("; rounds: %d, in %s", *rounds, time.Since(began).Round(time.Second)),
	}
	text := report(b.sheet, *n, columns, about)
	if *page == "" && whole {
		*page = defaultPage
	}
	if err := publish(text, *page, beginMark); err != nil {
		return err
	}
	for _, c := range columns {
		// That a peer fails is a result; that one of ours does is an error.
		if len(c.failed) > 0 && (c.name == "tend" || c.name == "limit") {
			return fmt.Errorf("%s failed at something: see the notes below the table", c.name)
		}
	}
	return nil
}

// compare runs every wanted scenario with every contender that is here, round
// after round, but none for which it is tedious. The one who begins changes from
// round to round, lest it be always the same.
func (b *bench) compare(contenders []*contender, rounds int) ([]*column, error) {
	columns := make([]*column, len(contenders))
	for i, c := range contenders {
		col := &column{name: c.name, failed: make(map[string]error)}
		col.version, col.absent = c.version()
		if col.absent != nil && !errors.Is(col.absent, errAbsent) {
			return nil, col.absent
		}
		columns[i] = col
	}
	type key struct{ contender, part string }
	tooSlow := make(map[key]bool)
	for round := range rounds {
		for _, sc := range scenarios {
			if !b.wants(sc.parts...) {
				continue
			}
			for i := range contenders {
				i := (i + round) % len(contenders)
				c, col := contenders[i], columns[i]
				if col.absent != nil {
					continue
				}
				if tooSlow[key{c.name, sc.parts[0]}] {
					continue
				}
				began := time.Now()
				fmt.Fprintf(os.Stderr, "round %d of %d: %s: %s", round+1, rounds, strings.Join(sc.parts, ", "), c.name)
				err := sc.run(b, c, round)
				fmt.Fprintf(os.Stderr, " %.1f s\n", time.Since(began).Seconds())
				tooSlow[key{c.name, sc.parts[0]}] = time.Since(began) > tedious
				if b.ctx.Err() != nil {
					return nil, errors.New("interrupted; all that was started has been ended")
				}
				if err != nil {
					fmt.Fprintf(os.Stderr, "  failed: %v\n", err)
					for _, part := range sc.parts {
						col.failed[part] = err
					}
				}
			}
		}
	}
	return columns, nil
}

// parts returns the names that -only knows.
func parts() []string {
	var names []string
	for _, sc := range scenarios {
		for _, part := range sc.parts {
			if !slices.Contains(names, part) {
				names = append(names, part)
			}
		}
	}
	return names
}

// choose reads a list with commas; each name must be one of those known.
func choose(flag, list string, known []string) (map[string]bool, error) {
	chosen := make(map[string]bool)
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
		case slices.Contains(known, name):
			chosen[name] = true
		default:
			return nil, fmt.Errorf("cannot use %s: no %q; there are %s", flag, name, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}

// versions names what was compared.
func versions(columns []*column) string {
	var out []string
	for _, c := range columns {
		if c.absent == nil {
			out = append(out, c.name+" "+c.version)
		} else {
			out = append(out, c.name+" absent")
		}
	}
	return strings.Join(out, "; ")
}

// publish prints a table, and puts it into the page unless that is empty.
func publish(text, page, mark string) error {
	fmt.Print("\n", text)
	if page == "" {
		return nil
	}
	old, err := os.ReadFile(page)
	if err == nil {
		var fresh string
		if fresh, err = paste(string(old), mark, text); err == nil {
			err = os.WriteFile(page, []byte(fresh), 0o644)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write the table into %s: %w", page, err)
	}
	return nil
}
