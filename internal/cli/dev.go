package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tend/api"
)

// dev starts a daemon, shows what its programs print until that ends, and obeys
// keys. The daemon is one as any other: the other commands find it.
func (a *app) dev(ctx context.Context, config string, times bool) error {
	at, state, unable := a.upPlace(config)
	c := a.dial(at.socket)
	if _, err := c.Daemon(ctx); !errors.Is(err, api.ErrNoDaemon) {
		if err != nil {
			return err
		}
		return &failure{exitFailed, "a daemon runs here already", "see what its programs print: tend logs -f; stop it: tend down"}
	}
	if unable != nil {
		return unable
	}
	if state == "" {
		return &failure{exitFailed, "a socket was named, so nothing can be started", "drop --socket and $TEND_SOCKET"}
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := a.start(ctx, config, state); err != nil {
		return err
	}
	list, err := c.Instances(ctx)
	if err != nil {
		return err
	}
	v := newDevView(a, list, times)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	restore := func() {}
	pressed := make(chan byte)
	if tty, ok := a.deps.Stdin.(*os.File); ok && a.out.tty {
		if restore, err = readKeys(ctx, tty, pressed); err == nil {
			v.note("? lists the keys; Ctrl-C stops everything")
		}
	}
	defer restore()

	// What is printed is shown until the daemon has ended, its last words included.
	var shown sync.WaitGroup
	ended := make(chan struct{})
	for _, program := range programsOf(list) {
		v.readers.Go(func() { v.follow(ctx, c, program) })
	}
	shown.Go(func() {
		v.events(ctx, c)
		close(ended)
	})
	defer v.readers.Wait()
	defer shown.Wait()
	stops := 0
	stop := func() {
		stops++
		if stops > 1 {
			go c.Shutdown(ctx, api.ShutdownOptions{Now: true})
			return
		}
		v.note("stopping everything; once more kills")
		go func() {
			// The daemon's end is that of what is followed: before that everything is
			// stopped, and what it has said last is read to its end.
			c.Act(ctx, "stop", "*", api.Act{}) // the shutdown stops what this doesn't
			close(v.last)
			v.readers.Wait()
			c.Shutdown(ctx, api.ShutdownOptions{})
		}()
	}
	for {
		select {
		case <-ended:
			return nil
		case <-signals:
			stop()
		case b := <-pressed:
			switch echo, cmd := v.press(b); cmd.do {
			case "quit":
				stop()
			case "restart":
				go v.restart(ctx, c, cmd.name)
			default:
				v.say(echo)
			}
		}
	}
}

// programsOf returns the names of the programs, each once.
func programsOf(list []api.Instance) (names []string) {
	for _, i := range list {
		if !slices.Contains(names, i.Program) {
			names = append(names, i.Program)
		}
	}
	return names
}

// readKeys sends each byte that is typed, unbuffered and without echo, until ctx
// ends. Ctrl-C stays a signal. The function that it returns makes the terminal what
// it was.
func readKeys(ctx context.Context, tty *os.File, pressed chan<- byte) (restore func(), err error) {
	fd := int(tty.Fd())
	was, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}, err
	}
	now := *was
	now.Lflag &^= unix.ICANON | unix.ECHO
	now.Cc[unix.VMIN], now.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &now); err != nil {
		return func() {}, err
	}
	// A read of a terminal can't be broken off: it is only begun when it won't wait.
	over, end, err := os.Pipe()
	if err != nil {
		return func() { unix.IoctlSetTermios(fd, unix.TCSETS, was) }, nil
	}
	context.AfterFunc(ctx, func() { end.Close() })
	go func() {
		defer over.Close()
		var b [1]byte
		for ctx.Err() == nil {
			ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(over.Fd()), Events: unix.POLLIN}}
			if _, err := unix.Poll(ready, -1); err == unix.EINTR {
				continue
			} else if err != nil || ready[1].Revents != 0 {
				return
			}
			if n, err := unix.Read(fd, b[:]); n != 1 || err != nil {
				return
			}
			select {
			case pressed <- b[0]:
			case <-ctx.Done():
			}
		}
	}()
	return func() { unix.IoctlSetTermios(fd, unix.TCSETS, was) }, nil
}

// A devView shows what programs print and what happens to them. Its methods may
// be called from several goroutines.
type devView struct {
	a     *app
	times bool

	readers sync.WaitGroup // of output
	last    chan struct{}  // closed when nothing is printed any more: they read to the end

	mu    sync.Mutex
	names []string // of programs, in the order of their numbers
	muted map[string]bool
	width int
	keys  keyReader
}

func newDevView(a *app, list []api.Instance, times bool) *devView {
	v := &devView{a: a, times: times, last: make(chan struct{}), names: programsOf(list), muted: make(map[string]bool), width: len("tend")}
	for _, i := range list {
		v.width = max(v.width, width(clean(i.Name)))
	}
	return v
}

// line prints one line of somebody.
func (v *devView) line(name string, st style, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	a := v.a
	v.width = max(v.width, width(clean(name)))
	prefix := pad(clean(name), v.width) + " │"
	if v.times {
		prefix = a.now().Format(time.TimeOnly) + " " + prefix
	}
	if a.out.tty && strings.Contains(text, "\x1b") {
		text += "\x1b[0m" // its colour isn't the next one's
	}
	fmt.Fprintln(a.out, a.out.paint(st, prefix)+" "+text)
}

func (v *devView) note(text string) { v.line("tend", dim, v.a.out.paint(dim, text)) }

// say prints what keys have to say, which may be several lines.
func (v *devView) say(text string) {
	for line := range strings.Lines(text) {
		v.note(strings.TrimSuffix(line, "\n"))
	}
}

func (v *devView) mutes(program string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.muted[program]
}

// follow shows the output of a program, over the daemon's death, until nothing is
// printed any more, and then what is left of it.
func (v *devView) follow(ctx context.Context, c client, program string) {
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-v.last:
			cancel()
		case <-following.Done():
		}
	}()
	o := api.LogOptions{Follow: true, Begun: true}
	read := func(ctx context.Context) error {
		for l, err := range c.Logs(ctx, program, o) {
			if err != nil {
				return err
			}
			if l.Position != "" {
				o.Since = l.Position
			}
			if v.mutes(program) {
				continue
			}
			for line := range strings.Lines(l.Text) {
				v.line(l.Name, nameStyle(l.Name), strings.TrimRight(line, "\r\n"))
			}
		}
		return nil
	}
	for {
		broken := read(following)
		select {
		case <-v.last:
			o.Follow = false
			read(ctx) // what can't be read now is in the file
			return
		default:
		}
		var said *api.Error
		if broken == nil || errors.As(broken, &said) && said.Kind != api.KindUnavailable || errors.Is(broken, api.ErrNoDaemon) {
			return
		}
		if _, err := c.Daemon(ctx); err != nil {
			return
		}
	}
}

// events shows what happens to programs, until the daemon ends. Those that come
// in by a reload are shown from then on.
func (v *devView) events(ctx context.Context, c client) {
	seq := uint64(0)
	for ctx.Err() == nil {
		for e, err := range c.Events(ctx, seq, true) {
			if errors.As(err, new(api.Missed)) {
				continue
			}
			if err != nil {
				break
			}
			seq = e.Seq
			v.event(e)
			if e.Kind == "program.enabled" && v.learn(e.Program) {
				v.readers.Go(func() { v.follow(ctx, c, e.Program) })
			}
		}
		// A guard starts a daemon again that has died: whoever connects waits for it.
		if _, err := c.Daemon(ctx); err != nil {
			return
		}
		seq = 0
	}
}

// learn takes a program in, and reports whether it wasn't known.
func (v *devView) learn(program string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if program == "" || slices.Contains(v.names, program) {
		return false
	}
	v.names = append(v.names, program)
	return true
}

// event shows an event, in the colour of what it means.
func (v *devView) event(e api.Event) {
	st := dim
	switch e.To {
	case api.Backoff:
		st = yellow
	case api.Failed:
		st = red
	case api.Running, api.Done:
		st = green
	}
	text := clean(e.Message)
	if e.To == api.Starting && e.PID != 0 {
		text += ", pid " + strconv.Itoa(e.PID)
	}
	who := nameStyle(eventName(e))
	if e.Name == "" && e.Program == "" {
		who = dim
	}
	v.line(eventName(e), who, v.a.out.paint(st, "● "+text))
	for _, d := range e.Diagnostics {
		v.say(cleanLines(strings.TrimSpace(d.Text)))
	}
}

// restart restarts a program, "" all.
func (v *devView) restart(ctx context.Context, c client, name string) {
	if name == "" {
		name = "*"
	}
	if _, err := c.Act(ctx, "restart", name, api.Act{NoWait: true}); err != nil && ctx.Err() == nil {
		v.note(clean(err.Error()))
	}
}

// press takes a key, and returns what it has to say and what is to be done.
func (v *devView) press(b byte) (echo string, cmd devCommand) {
	v.mu.Lock()
	defer v.mu.Unlock()
	echo, cmd = v.keys.press(b, v.names)
	if cmd.do != "mute" {
		return echo, cmd
	}
	names := []string{cmd.name}
	if cmd.name == "" {
		names = v.names
	}
	mute := !v.muted[names[0]]
	for _, name := range names {
		v.muted[name] = mute
	}
	what := strings.Join(names, ", ")
	if mute {
		return "muted " + what + "; m again shows it", cmd
	}
	return "showing " + what, cmd
}

// A devCommand is what keys ask for: "restart", "mute", "quit", or nothing.
type devCommand struct {
	do   string
	name string // of a program; "" stands for all
}

// A keyReader makes commands of keys: one for what is to be done, and then, for
// which program, its number or its name.
type keyReader struct {
	do   string // waits for a program
	word string // of its name, so far
}

// press takes a key. names are the programs, by number from 1.
func (k *keyReader) press(b byte, names []string) (echo string, cmd devCommand) {
	if k.do != "" {
		return k.choose(b, names)
	}
	switch b {
	case 'r', 'm':
		k.do = map[byte]string{'r': "restart", 'm': "mute"}[b]
		if len(names) == 1 { // there is no choice
			cmd = devCommand{k.do, names[0]}
			k.do = ""
			return "", cmd
		}
		return k.do + " which? " + numbered(names) + "; or a name and Enter, Enter alone for all, Esc for none", devCommand{}
	case 'q', 4: // Ctrl-D
		return "", devCommand{do: "quit"}
	case '?', 'h':
		return "r  restart a program\nm  mute a program, or show it again\nq  stop everything, as Ctrl-C\n" + numbered(names), devCommand{}
	}
	return "", devCommand{}
}

// choose takes a key of a program's number or name.
func (k *keyReader) choose(b byte, names []string) (echo string, cmd devCommand) {
	do := k.do
	done := func() { *k = keyReader{} }
	switch {
	case b == 27: // Esc
		done()
		return "never mind", devCommand{}
	case b == '\r' || b == '\n':
		word := k.word
		done()
		if word == "" {
			return "", devCommand{do: do}
		}
		if n, err := strconv.Atoi(word); err == nil && n >= 1 && n <= len(names) && !slices.Contains(names, word) {
			return "", devCommand{do, names[n-1]}
		}
		var found []string
		for _, name := range names {
			if name == word {
				return "", devCommand{do, name}
			}
			if strings.HasPrefix(name, word) {
				found = append(found, name)
			}
		}
		if len(found) == 1 {
			return "", devCommand{do, found[0]}
		}
		return "no program is called " + quote(word), devCommand{}
	case b == 127 || b == 8: // backspace
		k.word = k.word[:max(0, len(k.word)-1)]
	case k.word == "" && b >= '1' && b <= '9' && len(names) < 10: // no number has a second digit
		done()
		if n := int(b - '0'); n <= len(names) {
			return "", devCommand{do, names[n-1]}
		}
		return "there are only " + strconv.Itoa(len(names)), devCommand{}
	case b >= ' ':
		k.word += string([]byte{b})
	}
	return "", devCommand{}
}

// numbered lists programs with their numbers: "1 web, 2 queue".
func numbered(names []string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = strconv.Itoa(i+1) + " " + clean(name)
	}
	return strings.Join(list, ", ")
}
