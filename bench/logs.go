package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// This file holds the comparison of how output is carried from programs into
// rotated files (-logs).

const (
	logLimit = 50_000_000 // bytes at which a file is rotated
	logLine  = 100        // bytes of a line of the writer's
	lonely   = 200        // lines of the latency
)

// A carrier is one of those compared.
type carrier struct {
	name    string
	version func() (string, error)

	// argv starts a logger of its own for each program: it reads the program's output
	// from its standard input and leaves files in dir. nil: it is a supervisor.
	argv func(dir string) []string

	// supervise lays down in dir a configuration of the commands, and returns what
	// starts the supervisor, the socket on which it listens then, and what has it start
	// the commands: what the supervisor's own start costs isn't counted.
	supervise func(dir string, commands [][]string) (argv []string, socket string, begin []string, err error)

	// files returns the files with the output of a program, the oldest first. Its
	// number is -1 for a logger of its own.
	files func(dir string, program int) []string

	// strip returns what the writer wrote of a line in a file; nil: all of it.
	strip func(line []byte) []byte
}

// A logJob is one row of work: so many programs, which write so many bytes at once.
type logJob struct {
	programs int
	size     int
}

func (j logJob) String() string {
	what := "a write a line"
	if j.size > logLine {
		what = fmt.Sprintf("writes of %d KiB", j.size>>10)
	}
	if j.programs == 1 {
		return "one program, " + what
	}
	return fmt.Sprintf("%d programs, %s", j.programs, what)
}

var logJobs = []logJob{{1, 64 << 10}, {1, logLine}, {8, 64 << 10}, {8, logLine}}

// carriers are those compared, the limit first.
func carriers(bare, tendBinary string) []*carrier {
	debian := func(command, name string) func() (string, error) {
		return func() (string, error) {
			if err := needs(command); err != nil {
				return "", err
			}
			return packaged(name), nil
		}
	}
	glob := func(patterns ...string) func(string, int) []string {
		return func(dir string, _ int) (all []string) {
			for _, p := range patterns {
				names, _ := filepath.Glob(filepath.Join(dir, p))
				slices.Sort(names)
				all = append(all, names...)
			}
			return all
		}
	}
	here := func(text string) func() (string, error) { return func() (string, error) { return text, nil } }
	list := []*carrier{{
		name: "bare loop", version: here("read, write and rename in C"),
		argv:  func(dir string) []string { return []string{bare, filepath.Join(dir, "log"), strconv.Itoa(logLimit)} },
		files: glob("log.*", "log"),
	}}
	for _, kind := range []struct {
		name, keys string
		strip      func([]byte) []byte
	}{
		{"tend", "", nil},
		{"tend, timestamp", "log.timestamp = true\n", func(line []byte) []byte {
			_, rest, _ := bytes.Cut(line, []byte(" "))
			return rest
		}},
		{"tend, json", "log.format = \"json\"\n", func(line []byte) []byte {
			var o struct{ Message string }
			if json.Unmarshal(line, &o) != nil {
				return nil
			}
			return append([]byte(o.Message), '\n')
		}},
	} {
		list = append(list, &carrier{
			name: kind.name, strip: kind.strip,
			version: func() (string, error) { return tend(tendBinary).version() },
			supervise: func(dir string, commands [][]string) ([]string, string, []string, error) {
				var b strings.Builder
				fmt.Fprintf(&b, "[tend]\nreload = \"manual\"\n[tend.default]\nautostart = false\nrestart = \"never\"\nlog.max_size = %d\nlog.keep = 1000\n%s", logLimit, kind.keys)
				for i, c := range commands {
					fmt.Fprintf(&b, "[p%d]\ncommand = [%q, %q, %q, %q]\n", i, c[0], c[1], c[2], c[3])
				}
				file := filepath.Join(dir, "tend.toml")
				state := filepath.Join(dir, "state")
				return []string{tendBinary, "run", "-c", file, "--state", state}, filepath.Join(state, "tend.sock"),
					[]string{tendBinary, "start", "--all", "--no-wait", "--state", state}, os.WriteFile(file, []byte(b.String()), 0o600)
			},
			files: func(dir string, program int) []string {
				return byNumber(filepath.Join(dir, "state", "logs", fmt.Sprintf("p%d.log", program)))
			},
		})
	}
	return append(list,
		&carrier{
			name: "cat", version: here("without rotation"),
			argv:  func(dir string) []string { return []string{"/bin/sh", "-c", "exec cat >log"} },
			files: glob("log"),
		},
		&carrier{
			name: "svlogd", version: debian("svlogd", "runit"),
			argv: func(dir string) []string {
				os.WriteFile(filepath.Join(dir, "config"), fmt.Appendf(nil, "s%d\nn1000\n", logLimit), 0o600)
				return []string{path("svlogd"), dir}
			},
			files: glob("@*", "current"),
		},
		&carrier{
			name: "s6-log", version: debian("s6-log", "s6"),
			argv: func(dir string) []string {
				return []string{path("s6-log"), "n1000", fmt.Sprint("s", logLimit), dir}
			},
			files: glob("@*", "current"),
		},
		&carrier{
			name: "multilog", version: debian("multilog", "daemontools"),
			argv: func(dir string) []string {
				return []string{path("multilog"), fmt.Sprint("s", min(logLimit, 16777215)), "n1000", dir} // more it can't
			},
			files: glob("@*", "current"),
		},
		&carrier{
			name: "supervisord", version: supervisord().version,
			supervise: func(dir string, commands [][]string) ([]string, string, []string, error) {
				var b strings.Builder
				fmt.Fprintf(&b, "[supervisord]\nnodaemon=true\nsilent=true\nlogfile=%[1]s/supervisord.log\npidfile=%[1]s/pid\n[unix_http_server]\nfile=%[1]s/s.sock\n[supervisorctl]\nserverurl=unix://%[1]s/s.sock\n"+
					"[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n", dir)
				for i, c := range commands {
					fmt.Fprintf(&b, "[program:p%d]\ncommand=%s\nautostart=false\nautorestart=false\nstartsecs=0\nredirect_stderr=true\nstdout_logfile=%s/p%d.log\nstdout_logfile_maxbytes=%d\nstdout_logfile_backups=1000\n", i, strings.Join(c, " "), dir, i, logLimit)
				}
				file := filepath.Join(dir, "supervisord.conf")
				return []string{path("supervisord"), "-c", file}, filepath.Join(dir, "s.sock"),
					[]string{path("supervisorctl"), "-c", file, "start", "all"}, os.WriteFile(file, []byte(b.String()), 0o600)
			},
			files: func(dir string, program int) []string {
				return byNumber(filepath.Join(dir, fmt.Sprintf("p%d.log", program)))
			},
		})
}

// byNumber returns a log and its rotated files, the oldest first.
func byNumber(path string) []string {
	var all []string
	for n := 1; ; n++ {
		name := path + "." + strconv.Itoa(n)
		if _, err := os.Stat(name); err != nil {
			break
		}
		all = append(all, name)
	}
	slices.Reverse(all)
	return append(all, path)
}

// carry has a carrier do a job, and adds to the sheet what it took.
func (b *bench) carry(c *carrier, job logJob, writer string, total, round int) (err error) {
	dir, err := os.MkdirTemp("", "tend-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer sweep()
	each := total / job.programs / logLine * logLine
	result := func(i int) string { return filepath.Join(dir, fmt.Sprint("result", i)) }
	var commands [][]string
	for i := range job.programs {
		commands = append(commands, []string{writer, strconv.Itoa(each), strconv.Itoa(job.size), result(i)})
	}
	began := time.Now()
	var cpu time.Duration
	var wall time.Duration
	folder := func(i int) string { return dir }
	if c.argv != nil {
		folder = func(i int) string { return filepath.Join(dir, fmt.Sprint("p", i)) }
		var loggers, writers []*exec.Cmd
		for i, command := range commands {
			if err := os.Mkdir(folder(i), 0o700); err != nil {
				return err
			}
			r, w, err := os.Pipe()
			if err != nil {
				return err
			}
			argv := c.argv(folder(i))
			logger := exec.Command(argv[0], argv[1:]...)
			logger.Dir, logger.Stdin = folder(i), r
			write := exec.Command(command[0], command[1:]...)
			write.Stdout = w
			err = errors.Join(logger.Start(), write.Start())
			r.Close()
			w.Close()
			if err != nil {
				return err
			}
			loggers, writers = append(loggers, logger), append(writers, write)
		}
		for i := range loggers {
			if err := errors.Join(writers[i].Wait(), loggers[i].Wait()); err != nil {
				return err
			}
			cpu += loggers[i].ProcessState.SystemTime() + loggers[i].ProcessState.UserTime()
		}
		wall = time.Since(began)
	} else {
		argv, socket, begin, err := c.supervise(dir, commands)
		if err != nil {
			return err
		}
		root, err := start(argv, dir, filepath.Join(dir, "output"))
		if err != nil {
			return err
		}
		for began := time.Now(); ; time.Sleep(time.Millisecond) {
			conn, err := net.Dial("unix", socket)
			if err == nil {
				conn.Close()
				break
			}
			if b.ctx.Err() != nil || time.Since(began) > b.timeout {
				return fmt.Errorf("%w: %s: %w", errTimeout, b.timeout, err)
			}
		}
		if cpu, err = sideCPU(root, writer); err != nil {
			return err
		}
		began = time.Now()
		said, err := exec.Command(begin[0], begin[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		last := []byte(fmt.Sprintf("%010d ", each/logLine-1))
		for i := range job.programs {
			for !endsIn(c.files(dir, i), last) {
				if b.ctx.Err() != nil || time.Since(began) > b.timeout {
					return fmt.Errorf("%w: %s", errTimeout, b.timeout)
				}
				time.Sleep(time.Millisecond)
			}
		}
		wall = time.Since(began)
		all, err := sideCPU(root, writer)
		if err != nil {
			return err
		}
		cpu = all - cpu
	}
	var writers float64
	for i := range job.programs {
		if err := c.whole(c.files(folder(i), i), each); err != nil {
			return err
		}
		text, err := os.ReadFile(result(i))
		if err != nil {
			return err
		}
		var ns, used int64
		if _, err := fmt.Sscan(string(text), &ns, &used); err != nil {
			return err
		}
		writers = max(writers, float64(ns)/1e9)
	}
	perGiB := float64(1<<30) / float64(each*job.programs)
	b.sheet.add("wall "+job.String(), c.name, round, wall.Seconds()*perGiB)
	b.sheet.add("writer "+job.String(), c.name, round, writers*perGiB)
	b.sheet.add("cpu "+job.String(), c.name, round, cpu.Seconds()*perGiB)
	return nil
}

// endsIn says whether the end of the newest file holds the text.
func endsIn(files []string, text []byte) bool {
	if len(files) == 0 {
		return false
	}
	f, err := os.Open(files[len(files)-1])
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return false
	}
	buf := make([]byte, 400)
	n, _ := f.ReadAt(buf, max(0, st.Size()-int64(len(buf))))
	return bytes.Contains(buf[:n], text) && buf[n-1] == '\n'
}

// sideCPU returns the CPU time of the supervisor's side.
func sideCPU(root int, writer string) (sum time.Duration, err error) {
	side, err := supervisorSide(root, writer)
	for _, pid := range side {
		used, err := processCPU(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, err
}

// processCPU returns the CPU time of a process, threads that have ended included.
func processCPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// whole checks that the files hold what a writer wrote, line by line.
func (c *carrier) whole(files []string, bytesWritten int) error {
	var all []io.Reader // as one, for some cut a line in two
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		all = append(all, f)
	}
	in := bufio.NewReaderSize(io.MultiReader(all...), 1<<20)
	next := 0
	for ; ; next++ {
		line, err := in.ReadSlice('\n')
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("after line %d: %w", next, err)
		}
		if c.strip != nil {
			line = c.strip(line)
		}
		if n, err := strconv.Atoi(string(line[:min(10, len(line))])); err != nil || n != next || len(line) != logLine {
			return fmt.Errorf("the files hold %.40q where line %d should be", line, next)
		}
	}
	if next != bytesWritten/logLine {
		return fmt.Errorf("%d of %d lines are there", next, bytesWritten/logLine)
	}
	return nil
}

// latency measures how long a lone line takes from a program to the screen of who
// follows it: tend logs -f, and tail -f on a file that the program writes itself.
func (b *bench) latency(writer, tendBinary string, round int) error {
	for _, name := range []string{"tend", "tail -f"} {
		err := func() error {
			dir, err := os.MkdirTemp("", "tend-bench-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			defer sweep()
			fifo := filepath.Join(dir, "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				return err
			}
			poke, err := os.OpenFile(fifo, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer poke.Close()
			ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
			defer cancel()
			var follower *exec.Cmd
			if name == "tend" {
				file := filepath.Join(dir, "tend.toml")
				if err := os.WriteFile(file, fmt.Appendf(nil, "[web]\ncommand = [%q, \"echo\", %q]\n", writer, fifo), 0o600); err != nil {
					return err
				}
				if _, err := start([]string{tendBinary, "run", "-c", file, "--state", filepath.Join(dir, "state")}, dir, filepath.Join(dir, "output")); err != nil {
					return err
				}
				for {
					out, err := exec.CommandContext(ctx, tendBinary, "status", "--state", filepath.Join(dir, "state")).CombinedOutput()
					if err == nil && bytes.Contains(out, []byte("web")) {
						break
					}
					if ctx.Err() != nil {
						return fmt.Errorf("cannot get the status: %s", out)
					}
				}
				follower = exec.CommandContext(ctx, tendBinary, "logs", "-f", "-n", "0", "--state", filepath.Join(dir, "state"), "web")
			} else {
				file := filepath.Join(dir, "log")
				out, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
				if err != nil {
					return err
				}
				defer out.Close()
				echo := exec.CommandContext(ctx, writer, "echo", fifo)
				echo.Stdout = out
				if err := echo.Start(); err != nil {
					return err
				}
				follower = exec.CommandContext(ctx, "tail", "-n", "0", "-f", file)
			}
			screen, err := follower.StdoutPipe()
			if err != nil {
				return err
			}
			if err := follower.Start(); err != nil {
				return err
			}
			lines := bufio.NewScanner(screen)
			seen := make(chan int64, lonely)
			go func() {
				for lines.Scan() {
					said, _ := strconv.ParseInt(lines.Text(), 10, 64)
					seen <- now() - said
				}
				close(seen)
			}()
			// Until the first one is seen the follower may not be ready.
			for ready := false; !ready; {
				if _, err := poke.Write([]byte{'x'}); err != nil {
					return err
				}
				select {
				case _, ready = <-seen:
					if !ready {
						return errors.New("the follower ended")
					}
				case <-time.After(50 * time.Millisecond):
				}
			}
			time.Sleep(100 * time.Millisecond) // those that were asked for meanwhile
			for len(seen) > 0 {
				<-seen
			}
			for range lonely {
				if _, err := poke.Write([]byte{'x'}); err != nil {
					return err
				}
				select {
				case took, ok := <-seen:
					if !ok {
						return errors.New("the follower ended")
					}
					b.sheet.add("latency", name, round, float64(took)/1e6)
				case <-ctx.Done():
					return ctx.Err()
				}
				time.Sleep(5 * time.Millisecond)
			}
			return nil
		}()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// logs runs the comparison, round after round, and returns its report.
func (b *bench) logs(tools, tendBinary string, total, rounds int) (string, error) {
	writer, err := compile(tools, "writer", []string{"-static"}, nil)
	if err != nil {
		return "", err
	}
	bare, err := compile(tools, "carry", []string{"-static"}, nil)
	if err != nil {
		return "", err
	}
	began := time.Now()
	all := carriers(bare, tendBinary)
	failed := make(map[string]error)
	var versions []string
	all = slices.DeleteFunc(all, func(c *carrier) bool {
		v, err := c.version()
		if err != nil {
			v = "absent"
		}
		if !strings.HasPrefix(c.name, "tend,") {
			versions = append(versions, c.name+" "+v)
		}
		return err != nil
	})
	for round := range rounds {
		for _, job := range logJobs {
			for i := range all {
				c := all[(i+round)%len(all)]
				at := time.Now()
				fmt.Fprintf(os.Stderr, "round %d of %d: logs: %s: %s", round+1, rounds, job, c.name)
				err := b.carry(c, job, writer, total, round)
				fmt.Fprintf(os.Stderr, " %.1f s\n", time.Since(at).Seconds())
				if b.ctx.Err() != nil {
					return "", errors.New("interrupted; all that was started has been ended")
				}
				if err != nil {
					fmt.Fprintf(os.Stderr, "  failed: %v\n", err)
					failed[c.name+" failed at "+job.String()] = err
				}
			}
		}
		if err := b.latency(writer, tendBinary, round); err != nil {
			return "", fmt.Errorf("cannot measure the latency: %w", err)
		}
	}
	about := []string{
		machine(runtime.NumCPU(), runtime.Version(), began.UTC().Format(time.DateOnly)),
		fmt.Sprintf("%s; %d MiB each time, rounds: %d, in %s", strings.Join(versions, "; "), total>>20, rounds, time.Since(began).Round(time.Second)),
	}
	return b.logReport(all, failed, about), nil
}

// logReport is the Markdown of it.
func (b *bench) logReport(all []*carrier, failed map[string]error, about []string) string {
	var out strings.Builder
	for _, line := range about {
		fmt.Fprintf(&out, "%s  \n", line)
	}
	out.WriteString("\n| seconds for a GiB |")
	for _, c := range all {
		fmt.Fprintf(&out, " %s |", c.name)
	}
	out.WriteString("\n|---|" + strings.Repeat("---:|", len(all)) + "\n")
	for _, job := range logJobs {
		for _, what := range []struct{ series, title string }{{"cpu", "CPU"}, {"writer", "until it is written"}, {"wall", "until it is in the file"}} {
			fmt.Fprintf(&out, "| %s: %s |", job, what.title)
			for _, c := range all {
				v := b.sheet.value(what.series+" "+job.String(), c.name, 0.5)
				if math.IsNaN(v) {
					out.WriteString(" failed |")
					continue
				}
				fmt.Fprintf(&out, " %.2f |", v)
			}
			out.WriteString("\n")
		}
	}
	cpu := func(job logJob, name string) float64 { return b.sheet.value("cpu "+job.String(), name, 0.5) }
	verdict := func(title string, got, most float64, unit string) {
		if math.IsNaN(got) {
			return
		}
		mark := "✓"
		if got > most {
			mark = "✗"
		}
		fmt.Fprintf(&out, "| %s | %.2f%s | ≤ %g%s %s |\n", title, got, unit, most, unit, mark)
	}
	out.WriteString("\n| | `tend` | aim |\n|---|---:|:---|\n")
	for _, job := range logJobs {
		ratio := median(b.sheet.ratios("cpu "+job.String(), "tend", "bare loop", 0.5))
		if job.size > logLine {
			verdict(job.String()+": CPU, of the bare loop's", ratio, 1, " ×")
		} else {
			verdict(job.String()+": CPU, of the bare loop's", ratio, 0.25, " ×")
			best := math.NaN()
			for _, c := range all {
				if v := cpu(job, c.name); !strings.HasPrefix(c.name, "tend") && c.name != "bare loop" && c.name != "cat" && !(v > best) {
					best = v
				}
			}
			verdict(job.String()+": CPU, of the best peer's", cpu(job, "tend")/best, 0.25, " ×")
			verdict(job.String()+": the writer's time, of that under the bare loop", median(b.sheet.ratios("writer "+job.String(), "tend", "bare loop", 0.5)), 1, " ×")
		}
		for _, cooked := range []string{"timestamp", "json"} {
			verdict(job.String()+": CPU with "+cooked+", of raw", median(b.sheet.ratios("cpu "+job.String(), "tend, "+cooked, "tend", 0.5)), 2, " ×")
		}
	}
	verdict("a lone line to a follower, median", b.sheet.value("latency", "tend", 0.5), 2, " ms")
	fmt.Fprintf(&out, "| the same with `tail -f` on a file | %.2f ms | |\n", b.sheet.value("latency", "tail -f", 0.5))
	var notes []string
	for what, err := range failed {
		notes = append(notes, fmt.Sprintf("- %s: %s", what, oneLine(err)))
	}
	slices.Sort(notes)
	if len(notes) > 0 {
		fmt.Fprintf(&out, "\n%s\n", strings.Join(notes, "\n"))
	}
	return out.String()
}

func median(values []float64) float64 { return quantile(values, 0.5) }
