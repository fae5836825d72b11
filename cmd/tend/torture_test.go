package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tend/api"
	"tend/internal/logs"
)

var (
	flagRounds = flag.Int("torture.rounds", 0, "rounds of the torture; 0 is few")
	flagSeed   = flag.Uint64("torture.seed", 0, "its seed; 0 is a new one")
)

// TestTorture kills the daemon again and again while programs of every kind come
// and go, are commanded and reloaded. Nobody may notice: never two processes of
// one instance, each log is the exact sequence of what was printed, what was
// stopped by hand stays stopped, and in the end nothing is left over.
//
// The programs check the first themselves: each holds a lock on a file of its
// instance for as long as it lives.
func TestTorture(t *testing.T) {
	rounds, seed := *flagRounds, *flagSeed
	if rounds == 0 {
		if rounds = 12; testing.Short() {
			rounds = 4
		}
	}
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	for _, mode := range []struct {
		name string
		env  []string
	}{
		{"kills", nil},
		{"fault", []string{"TEND_TEST_FAULT=" + faultPoints[seed%uint64(len(faultPoints))]}},
		{"lesser kernel", []string{"TEND_TEST_WITHOUT=cgroup,pidfs,exitinfo"}},
		{"before cgroup.kill", []string{"TEND_TEST_WITHOUT=cgroup.kill,clone3"}},
	} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			t.Logf("%q; run it again: go test ./cmd/tend -run 'TestTorture/%s' -torture.seed %d -torture.rounds %d", mode.env, mode.name, seed, rounds)
			torture(t, mode.env, rand.New(rand.NewPCG(seed, 0)), rounds)
		})
	}
}

// faultPoints are places at which the daemon dies by itself, and about how often
// it passes them before that: not so seldom that it never happens, nor so often that
// it gets nothing done between the guard's waits. See package fault.
var faultPoints = []string{"ledger.written,2000", "proc.cloned,8", "proc.born,8", "daemon.saved,1000", "daemon.settling,500",
	"logs.relayed,400", "logs.staged,400", "logs.written,400", "logs.spliced,400", "logs.rotated,40", "logs.packing,40", "logs.packed,40", "history.written,40", "*,2000"}

// victim is one torture.
type victim struct {
	t      *testing.T
	rng    *rand.Rand
	dir    string
	client *api.Client
	bin    string
	toml   map[string]string // the keys of each program, besides its command
	byHand map[string]bool   // stopped by hand
	faults bool              // the daemon also dies by itself
	guard  *os.Process
	// How rotated files are compressed. What has been stays as it is.
	compress string
	ctx      context.Context
}

// kinds are the programs and what they do. See [tortured].
var kinds = []string{"steady", "chatty", "stamped", "objects", "flapping", "flapstamp", "flapobjects", "seated", "flapseated", "forking", "stubborn", "draining"}

func torture(t *testing.T, env []string, rng *rand.Rand, rounds int) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rounds)*patience*2/3+2*patience)
	defer cancel()
	v := &victim{t: t, rng: rng, compress: "gzip", dir: t.TempDir(), toml: make(map[string]string), byHand: make(map[string]bool), ctx: ctx}
	v.faults = slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "TEND_TEST_FAULT") })
	v.bin = filepath.Join(v.dir, "tend") // by this name the test binary is tend
	self, err := os.Executable()
	v.must(err)
	v.must(os.Symlink(self, v.bin))
	v.must(os.Symlink(self, filepath.Join(v.dir, "tortured")))
	v.client = api.Dial(filepath.Join(v.dir, ".tend", "tend.sock"))
	t.Cleanup(func() { killLeftovers(v.dir) })
	for _, k := range kinds {
		v.toml[k] = ""
	}
	v.write()

	out, err := os.Create(filepath.Join(v.dir, "out"))
	v.must(err)
	defer out.Close()
	run := exec.Command(v.bin, "run", "-c", "tend.toml")
	run.Dir, run.Stdout, run.Stderr = v.dir, out, out
	run.Env = append(os.Environ(), append([]string{"HOME=" + v.dir}, env...)...)
	v.must(run.Start())
	defer run.Process.Kill()
	v.guard = run.Process
	v.settle()
	// Somebody reads along, over everything that happens.
	followers := make(map[string]*follower)
	for _, k := range kinds {
		followers[k] = v.follow(k)
		defer followers[k].cancel()
	}
	for range rounds {
		for range 1 + rng.IntN(6) {
			v.happen()
		}
		if rng.IntN(4) > 0 {
			v.killDaemon()
		}
		v.settle()
	}

	v.checkHistory()
	v.must(run.Process.Signal(syscall.SIGTERM))
	if err := run.Wait(); err != nil {
		v.fatalf("tend ends with %v", err)
	}
	if left := leftovers(v.dir); len(left) > 0 {
		v.fatalf("left over: %v", left)
	}
	if b, _ := os.ReadFile(filepath.Join(v.dir, "violations")); len(b) > 0 {
		v.fatalf("two of one: %s", b)
	}
	for _, k := range kinds {
		all := v.checkLog(k)
		followers[k].await(v, k, all)
	}
}

// A follower reads a log as it grows.
type follower struct {
	cancel context.CancelFunc
	mu     sync.Mutex
	seen   bytes.Buffer
	more   chan struct{}
}

func (v *victim) follow(name string) *follower {
	ctx, cancel := context.WithCancel(v.ctx)
	f := &follower{cancel: cancel, more: make(chan struct{}, 1)}
	go logs.Follow(ctx, v.log(name), keptLogs, logs.Position{}, func(p []byte, _ logs.Position) error {
		f.mu.Lock()
		f.seen.Write(p)
		f.mu.Unlock()
		select {
		case f.more <- struct{}{}:
		default:
		}
		return nil
	})
	return f
}

// await waits until the follower has seen what is in the log.
func (f *follower) await(v *victim, name string, all []byte) {
	for {
		f.mu.Lock()
		n := f.seen.Len()
		same := bytes.Equal(f.seen.Bytes(), all)
		f.mu.Unlock()
		switch {
		case same:
			return
		case n >= len(all):
			v.fatalf("%s: who follows it has seen something else than what is there: %d bytes, not %d", name, n, len(all))
		}
		select {
		case <-f.more:
		case <-v.ctx.Done():
			v.fatalf("%s: who follows it has seen %d bytes of %d", name, n, len(all))
		}
	}
}

// zstd is a second codec, where there is a tool to check what it makes.
func (v *victim) zstd() string {
	if _, err := exec.LookPath("zstd"); err != nil {
		return "gzip"
	}
	return "zstd"
}

// keptLogs is how many rotated files stay: all.
const keptLogs = 5000

func (v *victim) log(name string) string {
	return filepath.Join(v.dir, ".tend", "logs", name+".log")
}

func (v *victim) must(err error) {
	v.t.Helper()
	if err != nil {
		v.fatalf("%v", err)
	}
}

func (v *victim) fatalf(format string, args ...any) {
	v.t.Helper()
	b, _ := os.ReadFile(filepath.Join(v.dir, "out"))
	lines := strings.Split(string(b), "\n")
	v.t.Logf("tend said:\n%s", strings.Join(lines[max(0, len(lines)-60):], "\n"))
	v.t.Fatalf(format, args...)
}

// write writes the configuration, by the way of editors.
func (v *victim) write() {
	var b strings.Builder
	fmt.Fprintf(&b, "[tend]\nreload = \"manual\"\n[tend.default]\nmin_uptime = \"10ms\"\nstop_timeout = \"300ms\"\nbackoff = { initial = \"5ms\", max = \"20ms\" }\nlog.max_size = \"5KB\"\nlog.keep = %d\n", keptLogs)
	for _, k := range kinds {
		if keys, ok := v.toml[k]; ok {
			fmt.Fprintf(&b, "[%s]\ncommand = [\"%s/tortured\", \"%s\", \"%s\"]\n%s\n", k, v.dir, k, v.dir, keys)
			if strings.HasSuffix(k, "stamped") || k == "flapstamp" {
				fmt.Fprintln(&b, "log.timestamp = true")
			}
			if strings.HasSuffix(k, "seated") {
				fmt.Fprintln(&b, "pty = true")
			}
			if strings.HasSuffix(k, "objects") {
				fmt.Fprintln(&b, "log.format = \"json\"")
			}
			if k == "chatty" || k == "stamped" || k == "objects" {
				fmt.Fprintf(&b, "log.compress = %q\n", v.compress)
			}
			if k == "draining" {
				fmt.Fprintln(&b, "when_disabled = \"drain\"")
			}
		}
	}
	file := filepath.Join(v.dir, "tend.toml")
	v.must(os.WriteFile(file+".new", []byte(b.String()), 0o644))
	v.must(os.Rename(file+".new", file))
}

// happen does one thing to the daemon or to a program. That the daemon dies over
// it is no failure.
func (v *victim) happen() {
	name := kinds[v.rng.IntN(len(kinds))]
	ctx, cancel := context.WithTimeout(v.ctx, patience*2/3)
	defer cancel()
	act := func(verb string) bool {
		_, err := v.client.Act(ctx, verb, name, api.Act{NoWait: true})
		return err == nil
	}
	switch v.rng.IntN(12) {
	case 0:
		if act("stop") {
			v.byHand[name] = true
		} else {
			delete(v.byHand, name) // nobody knows whether it was heard
			for !act("start") && ctx.Err() == nil {
			}
		}
	case 1, 2:
		for !act("start") && ctx.Err() == nil {
		}
		delete(v.byHand, name)
	case 3:
		for !act("restart") && ctx.Err() == nil {
		}
		delete(v.byHand, name)
	case 4, 5:
		list, err := v.client.Instances(ctx)
		if err != nil {
			return
		}
		for _, i := range list {
			if i.Name == name {
				v.kill(i.PID)
			}
		}
	case 6, 7:
		v.toml[name] = []string{"", "env = { A = \"" + strconv.Itoa(v.rng.IntN(3)) + "\" }", "stop_timeout = \"200ms\""}[v.rng.IntN(3)]
		v.write()
		for ctx.Err() == nil {
			if _, err := v.client.Reload(ctx, api.ReloadOptions{}); err == nil {
				return
			}
		}
	case 8:
		_, _ = v.client.Upgrade(ctx, api.UpgradeOptions{})
	case 9:
		v.killDaemon()
	case 10: // the logs are opened anew
		v.must(v.guard.Signal(syscall.SIGUSR2))
	case 11:
		v.compress = []string{"none", "gzip", v.zstd()}[v.rng.IntN(3)]
	}
}

// killDaemon kills the daemon, whatever it is about to do.
func (v *victim) killDaemon() {
	b, err := os.ReadFile(filepath.Join(v.dir, ".tend", "daemon.pid"))
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
		v.kill(pid)
	}
}

// kill kills a process, if it is still one of this torture.
func (v *victim) kill(pid int) {
	if pid <= 1 {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if slices.Contains(strings.Split(string(env), "\x00"), "HOME="+v.dir) {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// settle waits until all is where it is wanted.
func (v *victim) settle() {
	v.t.Helper()
	var why string
	for {
		ctx, cancel := context.WithTimeout(v.ctx, 5*time.Second)
		d, err := v.client.Daemon(ctx)
		var list []api.Instance
		if err == nil {
			list, err = v.client.Instances(ctx)
		}
		if err == nil {
			if why = v.misplaced(list); why == "" {
				cancel()
				return
			}
			// The next event may be the one that is waited for.
			for range v.client.Events(ctx, d.EventSeq, true) {
				break
			}
		} else {
			why = err.Error()
			awaitSocket(ctx, filepath.Join(v.dir, ".tend", "tend.sock"))
		}
		cancel()
		if v.ctx.Err() != nil {
			v.fatalf("it doesn't come to rest: %s", why)
		}
	}
}

// checkHistory checks that each run is known once, that each began when the one
// before it had ended, and that none goes on but the latest.
func (v *victim) checkHistory() {
	v.t.Helper()
	for _, name := range kinds {
		var runs []api.Run
		for {
			ctx, cancel := context.WithTimeout(v.ctx, 5*time.Second)
			var err error
			runs, err = v.client.History(ctx, name, api.HistoryOptions{})
			cancel()
			if err == nil {
				break
			}
			if v.ctx.Err() != nil {
				v.fatalf("no history: %v", err)
			}
			awaitSocket(v.ctx, filepath.Join(v.dir, ".tend", "tend.sock"))
		}
		if len(runs) == 0 {
			v.fatalf("%s has no history", name)
		}
		slices.SortStableFunc(runs, func(a, b api.Run) int { return a.Started.Compare(b.Started) })
		for i, r := range runs[1:] {
			before := runs[i]
			switch {
			case before.Running, before.Ended == nil:
				v.fatalf("%s: run %d goes on, and run %d has begun: %+v, %+v", name, before.Generation, r.Generation, before, r)
			case r.PID != 0 && r.PID == before.PID && r.Generation == before.Generation:
				v.fatalf("%s: run %d is there twice: %+v, %+v", name, r.Generation, before, r)
			case r.Started.Before(before.Ended.Add(-10 * time.Millisecond)): // clocks differ a little from daemon to daemon
				v.fatalf("%s: run %d began %v before the end of run %d: %+v, %+v", name, r.Generation, before.Ended.Sub(r.Started), before.Generation, before, r)
			}
		}
	}
}

func (v *victim) misplaced(list []api.Instance) string {
	for _, i := range list {
		switch {
		case v.byHand[i.Name] && i.State != api.Stopped:
			return i.Name + " was stopped by hand, but is " + i.State
		case v.byHand[i.Name], strings.HasPrefix(i.Name, "flap"):
		case i.State != api.Running:
			return i.Name + " is " + i.State + ": " + i.Message
		}
	}
	return ""
}

// checkLog checks that the log of an instance holds what it has printed, and
// nothing twice: the lines of each run are numbered from 1, and those of a run
// that came to its end without being killed end in "end".
func (v *victim) checkLog(name string) (all []byte) {
	files, _ := filepath.Glob(v.log(name) + "*")
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, ".packing") }) // its daemon has died
	plain := func(f string) string { return strings.TrimSuffix(strings.TrimSuffix(f, ".gz"), ".zst") }
	number := func(f string) int {
		n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Ext(plain(f)), "."))
		return n // 0: the newest
	}
	slices.SortFunc(files, func(a, b string) int {
		if c := number(b) - number(a); c != 0 {
			return c
		}
		return len(a) - len(b)
	})
	at, ended, lines, packed := make(map[string]int), make(map[string]bool), 0, 0
	for i, file := range files {
		if i > 0 && number(file) == number(files[i-1]) {
			continue // the daemon died before it removed what it had compressed
		}
		text, err := os.ReadFile(file)
		v.must(err)
		switch filepath.Ext(file) {
		case ".gz":
			z, err := gzip.NewReader(bytes.NewReader(text))
			v.must(err)
			text, err = io.ReadAll(z)
			v.must(err)
			packed++
		case ".zst":
			text, err = exec.Command("zstd", "-dc", file).Output()
			v.must(err)
			packed++
		}
		all = append(all, text...)
		sc := bufio.NewScanner(bytes.NewReader(text))
		for sc.Scan() {
			lines++
			line := sc.Text()
			if strings.HasSuffix(name, "objects") {
				var o struct {
					Message string
					Partial bool
				}
				if err := json.Unmarshal(sc.Bytes(), &o); err != nil || o.Partial {
					v.fatalf("%s: %q is no object of a whole line: %v", file, line, err)
				}
				line = o.Message
			}
			words := strings.Fields(line)
			if strings.Contains(name, "stamp") {
				if len(words) == 0 {
					v.fatalf("%s: an empty line", file)
				}
				if _, err := time.Parse(time.RFC3339, words[0]); err != nil {
					v.fatalf("%s: %q has no time in front", file, sc.Text())
				}
				words = words[1:]
			}
			if len(words) != 2 {
				v.fatalf("%s: %q is no line of it", file, sc.Text())
			}
			run := words[0]
			if words[1] == "end" {
				ended[run] = true
				continue
			}
			n, err := strconv.Atoi(words[1])
			if err != nil || n != at[run]+1 || ended[run] {
				v.fatalf("%s: %q after line %d of the run (ended: %v)", file, sc.Text(), at[run], ended[run])
			}
			at[run] = n
		}
	}
	// What the runs have counted themselves.
	counts, _ := filepath.Glob(filepath.Join(v.dir, "count."+name+".*"))
	for _, file := range counts {
		b, err := os.ReadFile(file)
		v.must(err)
		printed, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		run := strings.TrimPrefix(filepath.Base(file), "count."+name+".")
		if at[run] != printed || !ended[run] {
			v.fatalf("%s: run %s has printed %d lines and come to its end, in the log are %d (end: %v)", name, run, printed, at[run], ended[run])
		}
	}
	v.t.Logf("%s: %d lines of %d runs, %d of which came to their end by themselves; %d of %d files are compressed", name, lines, len(slices.Collect(maps.Keys(at))), len(counts), packed, len(files))
	return all
}

// leftovers returns the processes that a torture has started and that live.
func leftovers(home string) (list []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err == nil && slices.Contains(strings.Split(string(env), "\x00"), "HOME="+home) {
			cmd, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			list = append(list, filepath.Base(filepath.Dir(file))+" "+strings.ReplaceAll(string(cmd), "\x00", " "))
		}
	}
	return list
}

// tortured is a program of [TestTorture]: "tortured KIND DIR".
func tortured() {
	kind, dir := os.Args[1], os.Args[2]
	fail := func(err error) {
		if err != nil {
			f, _ := os.OpenFile(filepath.Join(dir, "violations"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
			fmt.Fprintf(f, "%s %d: %v\n", kind, os.Getpid(), err)
			os.Exit(3)
		}
	}
	// Alone of its kind, or there are two.
	lock, err := os.OpenFile(filepath.Join(dir, "lock."+kind), os.O_CREATE|os.O_RDWR, 0o644)
	fail(err)
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		fail(errors.New("another one is alive"))
	}
	var start unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &start)
	run := fmt.Sprintf("%d-%d", os.Getpid(), start.Nano())
	n := 0
	say := func() {
		n++
		if _, err := fmt.Printf("%s %d\n", run, n); err != nil {
			fail(err)
		}
	}
	// A run that isn't killed says so, and how much it has printed.
	end := func() {
		fmt.Printf("%s end\n", run)
		// It may be killed while it writes.
		part := filepath.Join(dir, "part."+kind)
		fail(os.WriteFile(part, []byte(strconv.Itoa(n)), 0o644))
		fail(os.Rename(part, filepath.Join(dir, "count."+kind+"."+run)))
		os.Exit(0)
	}
	term := make(chan os.Signal, 1)
	switch kind {
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	default:
		signal.Notify(term, syscall.SIGTERM)
	}
	pause := 20 * time.Millisecond
	switch kind {
	case "chatty", "stamped", "objects", "seated":
		pause = 200 * time.Microsecond
	case "flapping", "flapstamp", "flapobjects", "flapseated":
		for range 5 {
			say()
		}
		pause = 30 * time.Millisecond
	case "forking":
		child := exec.Command("setsid", "sleep", "1000")
		fail(child.Start())
	}
	tick := time.NewTicker(pause)
	for {
		select {
		case <-term:
			end()
		case <-tick.C:
			say()
			if strings.HasPrefix(kind, "flap") {
				end()
			}
		}
	}
}
