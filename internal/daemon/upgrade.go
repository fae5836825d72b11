package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tend/api"
	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/guard"
	"tend/internal/ledger"
)

// An upgrade is the daemon executing another binary in its place. The process
// stays the same: its children stay its children, and what it holds is taken
// over. All else is what the next daemon does after a crash, only that this one
// ends between two turns of its loop, with everything put aside.

const (
	testTime    = 10 * time.Second // for the new binary to show that it can read the ledger
	answerTime  = 2 * time.Second  // for requests under way to be answered
	quiesceTime = 5 * time.Second  // for spawns and signals under way
)

// Begun reports whether this process is the daemon already: under a guard, or in
// the place of another one.
func Begun() bool {
	return os.Getenv(guard.FDVariable) != "" || os.Getenv(handoffVariable) != ""
}

// selfTest is what a binary says of itself.
type selfTest struct {
	Version   string `json:"version"`
	Instances int    `json:"instances"`
}

// SelfTest shows that this binary can go on from the ledger at path, and prints
// its version as JSON. Nothing is changed.
func SelfTest(path, version string) error {
	values, err := ledger.Read(path)
	if err != nil {
		return err
	}
	past := remember(values, time.Now())
	if past.notice != "" {
		return errors.New(past.notice)
	}
	_, ids := engine.Restore(time.Now(), outside, past.past)
	if slices.Contains(ids, 0) && !past.past.Rebooted {
		return errors.New("some instances of the ledger make no sense to this version")
	}
	return json.NewEncoder(os.Stdout).Encode(selfTest{version, len(ids)})
}

// try runs the self-test of a binary.
func (d *Daemon) try(ctx context.Context, binary *os.File) (selfTest, error) {
	ctx, cancel := context.WithTimeout(ctx, testTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, fmt.Sprintf("/proc/self/fd/%d", binary.Fd()), "self-test", filepath.Join(d.place.state, "ledger"))
	cmd.Args[0] = os.Args[0]
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	var said selfTest
	err := cmd.Run()
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &said)
	}
	if err != nil {
		text, _, _ := strings.Cut(strings.TrimSpace(errs.String()), "\n")
		switch {
		case ctx.Err() != nil:
			err = fmt.Errorf("it gave no answer within %v", testTime)
		case text != "":
			err = fmt.Errorf("%w: %s", err, text)
		}
	}
	return said, err
}

// Upgrade begins to execute another binary in the daemon's place, when that has
// shown that it can go on from here.
func (c control) Upgrade(ctx context.Context, o api.UpgradeOptions) (*api.Upgrade, error) {
	d := c.d
	path := o.Binary
	if path == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		path = strings.TrimSuffix(exe, " (deleted)") // the file has been replaced: that is what is wanted
	}
	refuse := func(err error) error {
		return &api.Error{Kind: api.KindConflict, Message: fmt.Sprintf("cannot upgrade to %s: %v; the daemon is untouched", path, err),
			Hint: "name another binary: tend upgrade PATH"}
	}
	binary, err := os.Open(path)
	if err != nil {
		return nil, refuse(err)
	}
	said, err := d.try(ctx, binary)
	if err != nil {
		binary.Close()
		return nil, refuse(err)
	}
	state, err := ask(ctx, d, func() error {
		switch {
		case d.upgrading:
			return errors.New("an upgrade is under way")
		case d.engine.Stopping():
			return errors.New("tend is stopping")
		}
		d.upgrading, d.upgradeErr = true, ""
		return nil
	})
	if err == nil {
		err = state
	}
	if err != nil {
		binary.Close()
		return nil, refuse(err)
	}
	go d.upgrade(binary, path)
	return &api.Upgrade{From: d.opts.Version, To: said.Version, Binary: path, PID: d.pid}, nil
}

// upgrade ends the talk with clients, and then has the loop execute the binary.
func (d *Daemon) upgrade(binary *os.File, path string) {
	// The socket stays open by another descriptor: who connects waits.
	var f *os.File
	raw, err := d.listener.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			if fd, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3); err == nil {
				f = os.NewFile(uintptr(fd), keptListener)
			}
		})
	}
	if f == nil {
		d.post(func() { d.upgrading, d.upgradeErr = false, fmt.Sprintf("no descriptor for the socket: %v", err) })
		return
	}
	d.post(func() {
		d.refuseWaiting("tend is being upgraded; what was begun goes on", "see how it is: tend status")
	})
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	d.server.Shutdown(ctx)
	away := d.holdRemote(ctx)
	cancel()
	d.wire.close()
	done := make(chan error)
	d.post(func() {
		err := d.execute(binary, path, f, away)
		d.resumeRemote(away)
		if l, again := listenerOf(f); again == nil {
			d.listener = l
		}
		d.upgradeFailed(err)
		done <- err
	})
	<-done
	f.Close()
	away.Close() // which may be nil
	binary.Close()
}

// refuseWaiting tells who waits for the results of commands that they aren't waited
// for any more.
func (d *Daemon) refuseWaiting(message, hint string) {
	for id, c := range d.cmds {
		delete(d.cmds, id)
		c <- engine.Answer{Cmd: id, Refused: &engine.Refusal{Message: message, Hint: hint}}
	}
}

// upgradeFailed goes on as before.
func (d *Daemon) upgradeFailed(err error) {
	d.upgrading, d.upgradeErr = false, err.Error()
	d.warnf("cannot upgrade: %v; tend %s goes on", err, d.opts.Version)
	d.serve(d.listener)
	d.wire.reopen()
}

// execute executes the binary in our place. It returns only when that fails.
func (d *Daemon) execute(binary *os.File, path string, listener, away *os.File) error {
	if d.guard != nil {
		d.guard.Hold()
	}
	d.prober.Hold()
	err := d.quiesce()
	if err == nil {
		err = d.become(binary, path, listener, away)
	}
	d.prober.Resume()
	if d.guard != nil {
		if err := d.guard.Resume(d.guardHandler()); err != nil {
			d.onGuardGone()
		}
		for _, e := range d.guard.Ends {
			d.onGuardEnd(e)
		}
	}
	return err
}

// quiesce waits until nothing is under way, and puts everything aside.
func (d *Daemon) quiesce() error {
	ctx, cancel := context.WithTimeout(context.Background(), quiesceTime/2)
	if open := d.hooks.sender.Flush(ctx); open > 0 {
		d.warnf("on_event: %s may not be told, since tend is upgraded", plural(open, "event"))
	}
	cancel()
	idle := make(chan struct{})
	for range 100 { // what comes in meanwhile may begin more
		go func() {
			d.spawns.wait()
			d.kernel.wait()
			idle <- struct{}{}
		}()
		select {
		case <-idle:
		case <-time.After(quiesceTime):
			go func() { <-idle }()
			return errors.New("something is under way that doesn't end: a slow disk, or a lookup of users")
		}
		d.inbox.answer()
		mail := d.inbox.take()
		if len(mail) == 0 {
			break
		}
		for _, f := range mail {
			f()
		}
	}
	d.commit()
	d.settle()
	d.kernel.wait()
	d.history.Flush() // an error of it was told
	if d.unsaved {
		return fmt.Errorf("the ledger can't be written: %w", d.ledgerErr)
	}
	return nil
}

// become hands over what the next daemon needs, and executes it. What it needn't
// have closes by itself.
func (d *Daemon) become(binary *os.File, path string, listener, away *os.File) error {
	d.tell(event.Event{Kind: event.DaemonStopping, Message: "executing " + path})
	held, _ := d.events.Since(0, eventsKept)
	h := handoff{Guard: -1, Kept: make(map[string]int), From: d.opts.Version, LastEvent: d.events.Last(), Events: heldEvents(held)}
	var passed []int
	pass := func(fd int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
		passed = append(passed, fd)
		return err
	}
	defer func() {
		for _, fd := range passed {
			unix.CloseOnExec(fd)
		}
	}()
	var errs []error
	if d.guard != nil {
		h.Guard = d.guard.FD()
		errs = append(errs, pass(h.Guard))
	} else {
		h.Kept[keptLock+d.place.state] = int(d.lock.file.Fd())
		h.Kept[keptListener] = int(listener.Fd())
		if away != nil {
			h.Kept[away.Name()] = int(away.Fd())
		}
		for _, n := range d.instances {
			if n.out != nil {
				h.Kept[keptOut+n.tree] = n.out.FD()
			}
			if n.err != nil {
				h.Kept[keptErr+n.tree] = n.err.FD()
			}
			if n.stdin != nil {
				n.stdin.fd(func(fd int) { h.Kept[keptIn+n.tree] = fd })
			}
			maps.Copy(h.Kept, n.speechFDs())
			maps.Copy(h.Kept, n.terminal.fds())
		}
		for group, fd := range d.sockets.fds() {
			h.Kept[keptSocket+group] = fd
		}
		for name, fd := range d.listening.FDs() {
			h.Kept[keptListen+name] = fd
		}
		for number, fd := range d.capture.StageFDs() {
			h.Kept[keptStage+strconv.Itoa(number)] = fd
		}
		for _, fd := range h.Kept {
			errs = append(errs, pass(fd))
		}
	}
	fd, err := h.write()
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	defer unix.Close(fd)
	d.say.flush()
	d.say.close()
	env := append(os.Environ(), fmt.Sprintf("%s=%d", handoffVariable, fd))
	// By its path, which names the process in lists, where that is still the file.
	file := path
	var byPath, byFD unix.Stat_t
	if unix.Stat(path, &byPath) != nil || unix.Fstat(int(binary.Fd()), &byFD) != nil || byPath.Ino != byFD.Ino || byPath.Dev != byFD.Dev {
		file = fmt.Sprintf("/proc/self/fd/%d", binary.Fd())
	}
	err = syscall.Exec(file, os.Args, env)
	return fmt.Errorf("execve: %w", err)
}
