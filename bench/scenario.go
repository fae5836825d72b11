package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// A bench is one comparison: who, how big, and the figures as they come in.
type bench struct {
	ctx     context.Context
	probe   string
	n       int           // programs of the big fleet
	timeout time.Duration // of each thing waited for
	only    map[string]bool
	sheet   *sheet
}

const (
	few       = 24  // programs of the small fleet, each killed once
	middle    = 100 // programs of the second memory figure
	stormSize = 200 // programs of the storm
	changes   = 6   // changes made to the big fleet, in each way

	// A program that was up for less than a second has failed to start, for
	// supervisord and tend; runit waits before it starts such a one again.
	grace = 1300 * time.Millisecond

	settle  = 6 * time.Second        // from the last start until memory is read and rest begins: tend gives memory back after 3 s
	idle    = 10 * time.Second       // watched doing nothing
	gap     = 20 * time.Millisecond  // between one kill or change and the next
	patient = 6 * time.Second        // a slow contender gets fewer samples
	asking  = 3 * time.Second        // the storm is asked for its status so long in each way
	apiGap  = 10 * time.Millisecond  // between two questions to the API
	cliGap  = 100 * time.Millisecond // between two status commands
)

// scenarios are run one after the other, each by every contender.
var scenarios = []struct {
	parts []string // names that -only knows
	run   func(b *bench, c *contender, round int) error
}{
	{[]string{"restart"}, (*bench).restart},
	{[]string{"up", "memory", "idle", "restart-n", "reload", "stop"}, (*bench).fleet},
	{[]string{"memory"}, (*bench).memory},
	{[]string{"death", "upgrade"}, (*bench).survive},
	{[]string{"storm"}, (*bench).storm},
}

func (b *bench) wants(parts ...string) bool {
	for _, p := range parts {
		if len(b.only) == 0 || b.only[p] {
			return true
		}
	}
	return false
}

func programs(n int) []program {
	ps := make([]program, n)
	for i := range ps {
		ps[i].slot = i
	}
	return ps
}

// restart kills each program of a small fleet once.
func (b *bench) restart(c *contender, round int) error {
	f, err := launch(b.ctx, c, b.probe, programs(few), b.timeout)
	if err != nil {
		return err
	}
	defer f.close()
	if _, _, err := f.bringUp(); err != nil {
		return err
	}
	if err := f.pause(grace); err != nil {
		return err
	}
	return b.killEach(f, c, round, "restart", 0, few)
}

// killEach kills the programs from one slot to before another, one after the
// other, none twice: the first death costs no wait anywhere, the second may.
func (b *bench) killEach(f *fleet, c *contender, round int, series string, from, to int) error {
	for began, slot := time.Now(), from; slot < to && (time.Since(began) < patient || slot-from < 3); slot++ {
		took, err := f.kill(slot)
		if err != nil {
			return err
		}
		b.sheet.add(series, c.name, round, ms(took))
		if err := f.pause(gap); err != nil {
			return err
		}
	}
	return nil
}

// fleet takes the big fleet through a life: up, at rest, disturbed, changed, stopped.
func (b *bench) fleet(c *contender, round int) error {
	f, err := launch(b.ctx, c, b.probe, programs(b.n), b.timeout)
	if err != nil {
		return err
	}
	defer f.close()
	fromStart, fromFirst, err := f.bringUp()
	if err != nil {
		return err
	}
	b.sheet.add("up", c.name, round, ms(fromStart))
	b.sheet.add("up-first", c.name, round, ms(fromFirst))

	if b.wants("memory", "idle", "restart-n", "reload") {
		if err := f.pause(settle); err != nil {
			return err
		}
	}
	if b.wants("memory") {
		if err := b.weigh(f, c, round, "-n"); err != nil {
			return err
		}
	}
	if b.wants("idle") && round == 0 {
		if err := b.rest(f, c, round); err != nil {
			return err
		}
	}
	if b.wants("restart-n") {
		if err := b.killEach(f, c, round, "restart-n", 0, min(few, b.n)); err != nil {
			return err
		}
	}
	if b.wants("reload") {
		if err := b.reload(f, c, round); err != nil {
			return err
		}
	}
	if b.wants("stop") {
		gone, all, err := f.stop(c.stop)
		if err != nil {
			return err
		}
		b.sheet.add("stop-programs", c.name, round, ms(gone))
		b.sheet.add("stop", c.name, round, ms(all))
	}
	return nil
}

// weigh reads the memory of the supervisor's side, and that of the guard alone
// where there is one. suffix says how big the fleet is.
func (b *bench) weigh(f *fleet, c *contender, round int, suffix string) error {
	side, err := supervisorSide(f.root, f.probe)
	if err != nil {
		return err
	}
	bytes, err := pss(side)
	if err != nil {
		return err
	}
	b.sheet.add("pss"+suffix, c.name, round, float64(bytes)/(1<<20))
	if c.survival == nil {
		return nil
	}
	if bytes, err = pss([]int{f.root}); err != nil {
		return err
	}
	b.sheet.add("guard"+suffix, c.name, round, float64(bytes)/(1<<20))
	return nil
}

// rest watches the supervisor's side while nothing happens.
func (b *bench) rest(f *fleet, c *contender, round int) error {
	side, err := supervisorSide(f.root, f.probe)
	if err != nil {
		return err
	}
	before, err := used(side)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := f.pause(idle); err != nil {
		return err
	}
	after, err := used(side)
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	b.sheet.add("idle-cpu", c.name, round, ms(after.cpu-before.cpu)/seconds)
	b.sheet.add("idle-switches", c.name, round, float64(after.switches-before.switches)/seconds)
	return nil
}

// reload changes one program at a time, in each way that the contender has.
func (b *bench) reload(f *fleet, c *contender, round int) error {
	slot := b.n // from the end: the first ones were killed a moment ago
	repeat := func(series string, do func(slot int) error, after func() error) error {
		for began, i := time.Now(), 0; i < changes && (time.Since(began) < patient || i < 2); i++ {
			if slot--; slot < 0 {
				return nil
			}
			f.programs[slot].change++
			if err := c.reconfigure(f, slot); err != nil {
				return fmt.Errorf("cannot write the change: %w", err)
			}
			took, err := f.renew(slot, func() error { return do(slot) })
			if err != nil {
				return err
			}
			if err := after(); err != nil {
				return err
			}
			b.sheet.add(series, c.name, round, ms(took))
			if err := f.pause(gap); err != nil {
				return err
			}
		}
		return nil
	}
	if c.reloadSignal != nil {
		do := func(slot int) error { return c.reloadSignal(f, slot) }
		if err := repeat("reload-signal", do, func() error { return nil }); err != nil {
			return err
		}
	}
	if c.reloadCommand != nil {
		var command int
		do := func(slot int) (err error) {
			command, err = start(c.reloadCommand(f, slot), f.dir, f.log())
			return err
		}
		after := func() error {
			if err := reap(command); err != nil {
				return fmt.Errorf("cannot reload: the command %w; it said: %s", err, f.tail())
			}
			return nil
		}
		return repeat("reload-command", do, after)
	}
	return nil
}

// memory weighs the supervisor's side with no program and with some. Once will do:
// memory varies by little.
func (b *bench) memory(c *contender, round int) error {
	if round > 0 {
		return nil
	}
	for _, size := range []struct {
		n      int
		suffix string
	}{{0, "-0"}, {middle, "-middle"}} {
		err := func() error {
			f, err := launch(b.ctx, c, b.probe, programs(size.n), b.timeout)
			if err != nil {
				return err
			}
			defer f.close()
			if size.n > 0 {
				if _, _, err := f.bringUp(); err != nil {
					return err
				}
			}
			if err := f.pause(settle); err != nil {
				return err
			}
			return b.weigh(f, c, round, size.suffix)
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

// storm asks for the status, again and again, of programs that exit as soon as
// they are started.
func (b *bench) storm(c *contender, round int) error {
	if c.statusCommand == nil {
		return nil
	}
	ps := programs(stormSize)
	for i := range ps {
		ps[i].exits = true
	}
	f, err := launch(b.ctx, c, b.probe, ps, b.timeout)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.await(); err != nil {
		return err
	}
	began, before := time.Now(), f.board.starts()
	if c.statusAPI != nil {
		socket, ask := c.statusAPI(f)
		if err := f.awaitSocket(socket); err != nil {
			return err
		}
		if err := b.askAgain(f, c, round, "storm-api", apiGap, ask); err != nil {
			return err
		}
	}
	argv := c.statusCommand(f)
	ask := func() error {
		ctx, cancel := context.WithTimeout(b.ctx, f.timeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = environ()
		// Some tell by their exit status that not all is up, which is right;
		// s6-svstat tells on stderr of a program that it caught half-way.
		out, err := cmd.CombinedOutput()
		if ctx.Err() != nil {
			return fmt.Errorf("cannot get the status: %w: %s", errTimeout, f.timeout)
		}
		var status *exec.ExitError
		if err != nil && !errors.As(err, &status) {
			return err
		}
		if lines := strings.Count(string(out), "\n"); lines < len(f.programs) {
			return fmt.Errorf("cannot use the status: it has %d lines for %d programs: %.200s", lines, len(f.programs), out)
		}
		return nil
	}
	if err := b.askAgain(f, c, round, "storm-command", cliGap, ask); err != nil {
		return err
	}
	b.sheet.add("storm-restarts", c.name, round, float64(f.board.starts()-before)/time.Since(began).Seconds())
	return nil
}

// askAgain asks for a while, with a pause between an answer and the next question.
func (b *bench) askAgain(f *fleet, c *contender, round int, series string, gap time.Duration, ask func() error) error {
	for began := time.Now(); time.Since(began) < asking; {
		asked := now()
		if err := ask(); err != nil {
			return err
		}
		b.sheet.add(series, c.name, round, ms(time.Duration(now()-asked)))
		if err := f.pause(gap); err != nil {
			return err
		}
	}
	return nil
}

// ms returns the duration in milliseconds.
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
