package notify

import (
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// News is what a message says. What it doesn't say is zero. MONOTONIC_USEC= of a
// reload isn't there, since messages of a program come in order, nor is BARRIER=1:
// whoever handles a message closes its descriptors when it is done, which is what
// the sender of that waits for.
type News struct {
	Ready     bool
	Reloading bool // it reads its configuration anew, and says Ready again
	Stopping  bool
	Status    string // in words, with what ERRNO= and BUSERROR= name; one line
	HasStatus bool
	MainPID   int
	MainInode uint64 // of the pidfd of MainPID (MAINPIDFDID=); 0: it doesn't say
	MainPIDFD bool   // the descriptor of the message is a pidfd of it

	KeepAlive bool
	Trouble   bool          // it asks for what the watchdog would do
	Watchdog  time.Duration // a new time between two signs of life; negative: none are expected

	Extend time.Duration // it needs so much more time

	Store       bool // the descriptors of the message are to be kept
	StoreRemove bool // those of that name aren't any more
	Name        string
	NoPoll      bool // they are kept even when they hang up
}

// maxStatus bounds a status, in bytes.
const maxStatus = 1024

// Parse returns what the text of a message says. What isn't known, or makes no
// sense, is left out, as systemd does.
func Parse(text string) News {
	var n News
	var problems []string
	for line := range strings.SplitSeq(text, "\n") {
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		switch key {
		case "READY":
			n.Ready = n.Ready || value == "1"
		case "RELOADING":
			n.Reloading = n.Reloading || value == "1"
		case "STOPPING":
			n.Stopping = n.Stopping || value == "1"
		case "STATUS":
			n.Status, n.HasStatus = oneLine(value), true
		case "ERRNO":
			if e, err := strconv.Atoi(value); err == nil && e > 0 && e < 4096 {
				problems = append(problems, syscall.Errno(e).Error())
			}
		case "BUSERROR":
			if value = oneLine(value); value != "" {
				problems = append(problems, value)
			}
		case "MAINPID":
			if pid, err := strconv.Atoi(value); err == nil && pid > 0 {
				n.MainPID = pid
			}
		case "MAINPIDFDID":
			n.MainInode, _ = strconv.ParseUint(value, 10, 64) // 0 where that is none
		case "MAINPIDFD":
			n.MainPIDFD = n.MainPIDFD || value == "1"
		case "WATCHDOG":
			n.KeepAlive = n.KeepAlive || value == "1"
			n.Trouble = n.Trouble || value == "trigger"
		case "WATCHDOG_USEC":
			if d, ok := micros(value); ok {
				n.Watchdog = d
				if d == 0 {
					n.Watchdog = -1
				}
			}
		case "EXTEND_TIMEOUT_USEC":
			n.Extend, _ = micros(value)
		case "FDSTORE":
			n.Store = n.Store || value == "1"
		case "FDSTOREREMOVE":
			n.StoreRemove = n.StoreRemove || value == "1"
		case "FDNAME":
			if validName(value) {
				n.Name = value
			}
		case "FDPOLL":
			n.NoPoll = value == "0"
		}
	}
	if len(problems) > 0 {
		n.HasStatus = true
		problem := strings.Join(problems, ", ")
		if n.Status != "" {
			problem = n.Status + " (" + problem + ")"
		}
		n.Status = problem
	}
	if n.Name == "" {
		n.Name = "stored"
	}
	return n
}

// micros returns a number of microseconds. One that is too large for a
// time.Duration is the longest.
func micros(s string) (time.Duration, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, false
	}
	const most = uint64(1<<63-1) / uint64(time.Microsecond)
	return time.Duration(min(n, most)) * time.Microsecond, true
}

// oneLine returns s without what isn't text.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	if len(s) > maxStatus {
		s = strings.ToValidUTF8(s[:maxStatus], "") + "…"
	}
	return strings.TrimSpace(s)
}

// validName reports whether s can be the name of a kept descriptor, as systemd's
// fdname_is_valid has it.
func validName(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return true
}
