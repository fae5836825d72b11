package supervisorctl

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"

	"golang.org/x/term"
)

// shell carries out line after line, the first being status.
func (s *session) shell() {
	if s.history != "" {
		s.line().load(s.history)
		defer s.line().save(s.history)
	}
	line := "status"
	for {
		quit := false
		interrupted, _ := s.interruptible(func(ctx context.Context) error {
			if line == "" {
				var err error
				if line, err = s.ask(s.prompt+"> ", true); err != nil {
					line = "EOF"
				}
				if ctx.Err() != nil {
					return nil
				}
			}
			quit = s.one(line)
			return nil
		})
		if interrupted {
			s.say("")
			return
		}
		if quit {
			return
		}
		line = ""
	}
}

// ask shows a prompt and returns the line that is typed, or errEOF. For actions
// there is completion, and a history.
func (s *session) ask(prompt string, action bool) (string, error) {
	if t := s.line(); t.fd >= 0 {
		t.action = action
		return t.read(s.ctx, prompt)
	}
	fmt.Fprint(s.stdout, prompt)
	line, err := s.stdin.line(s.ctx)
	if err != nil {
		return "", errEOF
	}
	return line, nil
}

// askPassword is ask without an echo, on the terminal whatever stdin is, and on
// stdin where there is no terminal.
func (s *session) askPassword(prompt string) (string, error) {
	file, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err == nil {
		defer file.Close()
	} else if file, _ = s.stdin.r.(*os.File); file == nil || !term.IsTerminal(int(file.Fd())) {
		fmt.Fprint(s.stderr, "Warning: Password input may be echoed.\n", prompt)
		line, err := s.stdin.line(s.ctx)
		if err != nil {
			return "", errNoPassword
		}
		return line, nil
	}
	fmt.Fprint(file, prompt)
	password, err := term.ReadPassword(int(file.Fd()))
	fmt.Fprintln(file)
	if err != nil {
		return "", errNoPassword
	}
	return string(password), nil
}

// input is standard input. What reads of it may be interrupted, and what was
// read by then is for the next who asks: no byte is lost.
type input struct {
	r       io.Reader
	rest    []byte
	pending chan chunk // of a read under way
}

type chunk struct {
	b   []byte
	err error
}

// fill waits until there is something in rest.
func (in *input) fill(ctx context.Context) error {
	if len(in.rest) > 0 {
		return nil
	}
	if in.pending == nil {
		pending := make(chan chunk, 1)
		in.pending = pending
		go func() {
			b := make([]byte, 4<<10)
			n, err := in.r.Read(b)
			pending <- chunk{b[:n], err}
		}()
	}
	select {
	case c := <-in.pending:
		in.pending = nil
		in.rest = c.b
		if len(c.b) > 0 {
			return nil // an error comes again with the next read
		}
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// line returns the next line without its end, and an error where there is none.
func (in *input) line(ctx context.Context) (string, error) {
	var line []byte
	for {
		if err := in.fill(ctx); err != nil {
			if len(line) > 0 && ctx.Err() == nil {
				return string(line), nil
			}
			return "", err
		}
		i := bytes.IndexByte(in.rest, '\n')
		if i >= 0 {
			line = append(line, in.rest[:i]...)
			in.rest = in.rest[i+1:]
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, in.rest...)
		in.rest = nil
	}
}

// interrupts hands SIGINT to the innermost of those who wait for it.
type interrupts struct {
	mu      sync.Mutex
	waiting []context.CancelFunc
	signals chan os.Signal
}

// interruptible runs f, whose context and that of all calls ends by SIGINT. It
// returns whether that happened.
func (s *session) interruptible(f func(ctx context.Context) error) (interrupted bool, err error) {
	outer := s.ctx
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	s.ctx = ctx
	s.interrupts.push(cancel)
	defer func() {
		s.interrupts.pop()
		s.ctx = outer
	}()
	err = f(ctx)
	return ctx.Err() != nil && outer.Err() == nil, err
}

func (i *interrupts) push(cancel context.CancelFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting = append(i.waiting, cancel)
	if len(i.waiting) > 1 {
		return
	}
	signals := make(chan os.Signal, 1)
	i.signals = signals
	signal.Notify(signals, os.Interrupt)
	go func() {
		for range signals {
			i.mu.Lock()
			if n := len(i.waiting); n > 0 && i.signals == signals {
				i.waiting[n-1]()
			}
			i.mu.Unlock()
		}
	}()
}

func (i *interrupts) pop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting = i.waiting[:len(i.waiting)-1]
	if len(i.waiting) == 0 {
		signal.Stop(i.signals)
		close(i.signals)
		i.signals = nil
	}
}

// terminal edits lines where stdin and stdout are terminals.
type terminal struct {
	s      *session
	fd     int // of stdin; -1: there is no terminal
	out    *os.File
	editor *term.Terminal
	ctx    context.Context // of the read under way
	action bool            // an action is asked for, and not a name
	past   []string        // oldest first
}

// maxHistory bounds the lines that are kept.
const maxHistory = 1000

// line returns the terminal of the session.
func (s *session) line() *terminal {
	if s.terminal != nil {
		return s.terminal
	}
	t := &terminal{s: s, fd: -1}
	s.terminal = t
	in, isIn := s.stdin.r.(*os.File)
	out, isOut := s.stdout.(*os.File)
	if isIn && isOut && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd())) {
		t.fd, t.out = int(in.Fd()), out
		t.editor = term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{readerFunc(t.Read), out}, "")
		t.editor.History = t
		t.editor.AutoCompleteCallback = t.complete
	}
	return t
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Read gives the editor what is typed.
func (t *terminal) Read(p []byte) (int, error) {
	if err := t.s.stdin.fill(t.ctx); err != nil {
		return 0, err
	}
	n := copy(p, t.s.stdin.rest)
	t.s.stdin.rest = t.s.stdin.rest[n:]
	return n, nil
}

// read edits one line. The terminal is raw only for that long, so that SIGINT
// comes while an action runs; in the editor, ^C ends like ^D.
func (t *terminal) read(ctx context.Context, prompt string) (string, error) {
	before, err := term.MakeRaw(t.fd)
	if err != nil {
		return "", errEOF
	}
	defer func() { _ = term.Restore(t.fd, before) }()
	if width, height, err := term.GetSize(t.fd); err == nil && width > 0 {
		_ = t.editor.SetSize(width, height)
	}
	t.ctx = ctx
	t.editor.SetPrompt(prompt)
	line, err := t.editor.ReadLine()
	if err != nil {
		return "", errEOF
	}
	return line, nil
}

// Add, Len and At are the history of the editor: index 0 is the newest.
func (t *terminal) Add(entry string) {
	if !t.action || strings.TrimSpace(entry) == "" {
		return // an answer to a question isn't worth keeping
	}
	t.past = append(t.past, entry)
	if n := len(t.past) - maxHistory; n > 0 {
		t.past = t.past[n:]
	}
}

// Len returns how many lines there are.
func (t *terminal) Len() int { return len(t.past) }

// At returns a line.
func (t *terminal) At(i int) string { return t.past[len(t.past)-1-i] }

// load and save keep the history in a file. That it can't be read or written is
// nothing to stop for.
func (t *terminal) load(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		t.past = append(t.past, lines.Text())
	}
	t.past = t.past[max(0, len(t.past)-maxHistory):]
}

func (t *terminal) save(path string) {
	text := strings.Join(t.past, "\n")
	if text != "" {
		text += "\n"
	}
	_ = os.WriteFile(path, []byte(text), 0o600)
}

// complete completes the word before the cursor by Tab: as far as all that fit
// agree, and else it shows them.
func (t *terminal) complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' || !t.action {
		return "", 0, false
	}
	before := line[:pos]
	word := before[strings.LastIndexAny(before, " \t")+1:]
	fits := t.s.completions(before, word)
	if len(fits) == 0 {
		return line, pos, true // Tab isn't typed
	}
	common := fits[0]
	for _, f := range fits {
		for !strings.HasPrefix(f, common) {
			common = common[:len(common)-1]
		}
	}
	if common == word && len(fits) > 1 {
		fmt.Fprintln(t.editor, strings.Join(fits, " "))
	}
	return before[:len(before)-len(word)] + common + line[pos:], pos - len(word) + len(common), true
}

// completions returns what word can become, a blank behind each: actions, or for
// actions that have them, groups or processes.
func (s *session) completions(line, word string) []string {
	var list []string
	words := strings.Fields(line)
	switch {
	case len(words) == 0 || len(words) == 1 && word != "" || words[0] == "help":
		for action := range actions {
			if action != "EOF" {
				list = append(list, action)
			}
		}
	case slices.Contains([]string{"add", "remove", "update"}, words[0]):
		for _, p := range s.knownProcesses() {
			list = append(list, p.group)
		}
	case slices.Contains([]string{"clear", "fg", "pid", "restart", "signal", "start", "status", "stop", "tail"}, words[0]):
		for _, p := range s.knownProcesses() {
			if p.group == p.process && !strings.Contains(word, ":") {
				list = append(list, p.process)
			} else {
				list = append(list, p.group+":"+p.process, p.group+":*")
			}
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	list = slices.DeleteFunc(list, func(s string) bool { return !strings.HasPrefix(s, word) })
	for i := range list {
		list[i] += " "
	}
	return list
}

// knownProcesses asks once for a line: Tab may be pressed often. An error is no
// completion.
func (s *session) knownProcesses() []process {
	if s.known == nil {
		defer s.disconnect()
		s.known, _ = s.processes()
	}
	return s.known
}
