package proc

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// A look for strangers costs time in proportion to all our live children,
	// so it comes at least this long after a child's end, and after that
	// many times what the last look took.
	lookAfter = 10 * time.Millisecond
	lookShare = 50

	// Who started a child itself, as os/exec does, in our session, has this
	// long to wait for it.
	waitersTime = time.Minute
)

// reapStrangers takes the statuses of children that nobody here started: the
// orphans that a subreaper and process 1 get. It never takes that of an
// attempt, and leaves those in our own session to whoever started them.
func (h *Host) reapStrangers(child <-chan os.Signal) {
	ripe := make(map[int]time.Time) // zombies in our session: when to take them
	timer := time.NewTimer(0)       // there may be some already
	for {
		select {
		case <-h.done:
			timer.Stop()
			return
		case <-timer.C:
		}
		began := time.Now()
		next := h.lookForStrangers(began, ripe)
		pause := max(lookAfter, lookShare*time.Since(began))
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(max(pause, time.Until(next)))
		}
		select {
		case <-h.done:
			timer.Stop()
			return
		case <-timer.C:
			timer.Reset(0)
		case <-child:
			timer.Reset(pause)
		}
	}
}

// lookForStrangers reaps strangers. It returns when to look again though no
// child ends meanwhile; zero is never.
func (h *Host) lookForStrangers(now time.Time, ripe map[int]time.Time) (next time.Time) {
	for {
		// WNOWAIT only looks, and always shows the first of all zombies.
		info, err := waitid(unix.P_ALL, 0, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != nil || info.pid == 0 {
			clear(ripe)
			return time.Time{}
		}
		if !h.take(int(info.pid)) {
			break // which hides all others
		}
	}
	zombies := make(map[int]bool)
	for _, pid := range h.children(h.self.pid) {
		info, err := waitid(unix.P_PID, pid, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != nil || info.pid == 0 || h.take(pid) || h.known(pid) {
			continue
		}
		zombies[pid] = true
		at, ok := ripe[pid]
		switch {
		case !ok:
			ripe[pid] = now.Add(waitersTime)
		case !now.Before(at):
			waitid(unix.P_PID, pid, unix.WEXITED|unix.WNOHANG, nil)
			zombies[pid] = false
		}
	}
	for pid, at := range ripe {
		if !zombies[pid] {
			delete(ripe, pid)
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// take reaps the zombie pid if it is a stranger.
func (h *Host) take(pid int) bool {
	h.forks.Lock()
	defer h.forks.Unlock()
	if h.known(pid) {
		return false
	}
	// Programs and all they start are in sessions of their own.
	if sid, err := unix.Getsid(pid); err != nil || sid == h.self.sid {
		return false
	}
	info, err := waitid(unix.P_PID, pid, unix.WEXITED|unix.WNOHANG, nil)
	return err == nil && info.pid != 0
}

// known reports whether pid is an attempt's.
func (h *Host) known(pid int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.procs[int32(pid)] != nil
}
