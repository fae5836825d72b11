package daemon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tend/internal/engine"
	"tend/internal/health"
	"tend/internal/proc"
	"tend/internal/spec"
	"tend/internal/unit"
)

// probeKey names a check of an instance.
type probeKey struct {
	id    engine.ID
	ready bool // whether it is ready, else whether it is healthy
}

// probe begins and ends the checks that an instance is to have, and the wait for
// what it says of itself.
func (d *Daemon) probe(f engine.Watch) {
	n := d.instances[f.ID]
	ready, healthy := probeKey{f.ID, true}, probeKey{f.ID, false}
	if n == nil {
		d.prober.Forget(ready)
		d.prober.Forget(healthy)
		return
	}
	r, h := f.Spec.Ready, f.Spec.Health // copies
	for _, address := range []*string{&r.TCP, &r.GRPC, &h.TCP, &h.GRPC} {
		*address = from(f.Spec.Directory, *address)
	}
	ask := health.ReadyProbe(&r)
	if !r.Exec.IsZero() {
		ask = d.command(n, f, r.Exec)
	}
	if f.For.Ready && ask != nil {
		said := ""
		d.prober.Watch(ready, health.Check{Probe: ask, Interval: r.Interval, Timeout: health.TryTimeout, Heavy: !r.Exec.IsZero(),
			Tell: func(found health.Result) {
				if found.OK {
					d.post(func() { d.step(engine.Fact{ID: f.ID, Event: unit.Ready{Gen: f.Gen}}) })
				} else if found.Message != said { // there are many tries, and they mostly find the same
					said = found.Message
					d.tellChecked(f, found)
				}
			}})
	} else {
		d.prober.Forget(ready)
	}
	if !f.For.Ready {
		d.endReady(n)
		if n.hear.match != nil && n.gen == f.Gen {
			n.hear.match = nil
			d.redirect(n)
		}
	}
	if f.For.Health {
		ask := health.HealthProbe(&h)
		if !h.Exec.IsZero() {
			ask = d.command(n, f, h.Exec)
		}
		d.prober.Watch(healthy, health.Check{Probe: ask, Interval: h.Interval, Timeout: h.Timeout, Heavy: !h.Exec.IsZero(), Shy: true,
			Tell: func(found health.Result) { d.tellChecked(f, found) }})
	} else {
		d.prober.Forget(healthy)
	}
}

// from returns an address with the path in it as seen from a folder.
func from(folder, address string) string {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok || filepath.IsAbs(path) {
		return address
	}
	return "unix:" + filepath.Join(folder, path)
}

func (d *Daemon) tellChecked(f engine.Watch, found health.Result) {
	d.post(func() {
		d.step(engine.Fact{ID: f.ID, Event: unit.Checked{Gen: f.Gen, OK: found.OK, Message: found.Message}})
	})
}

// A check by a command is a tree of its own, beside that of its program: it ends
// without it, and the program doesn't wait for it.
const checkTree = " check"

// forgetCheck removes what is kept for the checks of an instance, which ends for
// good, after the last of them.
func (d *Daemon) forgetCheck(tree string, turn chan struct{}) {
	if turn == nil {
		return
	}
	limit := time.NewTimer(killedEnd)
	defer limit.Stop()
	select {
	case turn <- struct{}{}:
	case <-limit.C:
	}
	d.host.Forget(tree + checkTree)
}

// command returns a probe that runs a command as the program of an instance: with
// its environment, user, folder and limits.
func (d *Daemon) command(n *instance, f engine.Watch, c spec.Command) health.Probe {
	_, number, _ := strings.Cut(n.tree[len(f.Spec.Name):], ":")
	index, _ := strconv.Atoi(number) // it is of our own making
	if n.checking == nil {
		n.checking = make(chan struct{}, 1)
	}
	turn := n.checking
	return func(ctx context.Context) error {
		select { // one that was given up may be on its way out
		case turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-turn }()
		account, err := lookup(f.Spec)
		if err != nil {
			return err
		}
		a := d.attempt(0, index, f.Gen, f.Spec, account)
		d.beside(a, a.Name+checkTree, f.Gen)
		a.Argv = c.Args()
		return d.runCheck(ctx, a)
	}
}

const lastLine = 1 << 10 // bytes of the output of a check that are kept

// runCheck runs a check, as runBeside does. It returns what is wrong.
func (d *Daemon) runCheck(ctx context.Context, a *proc.Attempt) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	a.Stdin, a.Stdout, a.Stderr = -1, int(w.Fd()), int(w.Fd())
	said := make(chan string, 1)
	go func() { said <- tail(r) }()
	status, err := d.runBeside(ctx, a)
	w.Close()
	r.SetReadDeadline(time.Now().Add(killedEnd)) // somebody else may have it open
	line := <-said
	if err != nil || status == (proc.Status{}) {
		return err
	}
	how := "exit " + strconv.Itoa(status.Code)
	if status.Signal != 0 {
		how = "signal " + spec.Signal(status.Signal).String()
	}
	if line != "" {
		how += ": " + line
	}
	return errors.New(how)
}

// tail reads to the end and returns the last line that isn't blank.
func tail(r *os.File) string {
	var kept []byte
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		kept = append(kept, buf[:n]...)
		if len(kept) > lastLine {
			kept = append(kept[:0], kept[len(kept)-lastLine:]...)
		}
		if err != nil {
			break
		}
	}
	kept = bytes.TrimSpace(kept)
	return strings.ToValidUTF8(string(kept[bytes.LastIndexByte(kept, '\n')+1:]), "�")
}
