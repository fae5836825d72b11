package logs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
)

// A receiver is a syslog or a journal that keeps what it is told.
type receiver struct {
	target Target
	grown  chan struct{}

	mu   sync.Mutex
	all  []string
	conn io.Closer
	tcp  []net.Conn
}

func (r *receiver) add(s string) {
	r.mu.Lock()
	r.all = append(r.all, s)
	r.mu.Unlock()
	select {
	case r.grown <- struct{}{}:
	default:
	}
}

// wait returns what has come once it is n messages.
func (r *receiver) wait(t *testing.T, n int) []string {
	t.Helper()
	late := time.After(deadline)
	for {
		r.mu.Lock()
		all := r.all
		r.mu.Unlock()
		if len(all) >= n {
			return all
		}
		select {
		case <-r.grown:
		case <-late:
			t.Fatalf("%d of %d messages: %.2000q", len(all), n, all)
		}
	}
}

func (r *receiver) close() {
	r.conn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.tcp {
		c.Close()
	}
}

// listen makes a receiver; address is a path, or udp:// or tcp:// with a host.
func listen(t *testing.T, target Target) *receiver {
	t.Helper()
	r := &receiver{target: target, grown: make(chan struct{}, 1)}
	network, address, err := target.network()
	if err != nil {
		t.Fatal(err)
	}
	if network == "tcp" {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		r.conn, r.target.Address = l, "tcp://"+l.Addr().String()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				r.mu.Lock()
				r.tcp = append(r.tcp, c)
				r.mu.Unlock()
				go func() {
					in := bufio.NewReader(c)
					for {
						var n int
						if _, err := fmt.Fscanf(in, "%d ", &n); err != nil {
							return
						}
						b := make([]byte, n)
						if _, err := io.ReadFull(in, b); err != nil {
							return
						}
						r.add(string(b))
					}
				}()
			}
		}()
	} else {
		p, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		r.conn = p
		if network == "udp" {
			r.target.Address = "udp://" + p.LocalAddr().String()
		}
		go func() {
			b := make([]byte, 1<<18)
			for {
				n, _, err := p.ReadFrom(b)
				if err != nil {
					return
				}
				r.add(string(b[:n]))
			}
		}()
	}
	t.Cleanup(r.close)
	return r
}

// TestSend: each line is a message in the other side's own form, whole, without
// what strip_ansi takes out, and long ones in parts; the file has them all as well.
func TestSend(t *testing.T) {
	dir := t.TempDir()
	journal := listen(t, Target{Journal, filepath.Join(dir, "journal")})
	all := []*receiver{
		listen(t, Target{Syslog, filepath.Join(dir, "log")}),
		listen(t, Target{Syslog, "udp://127.0.0.1:0"}),
		listen(t, Target{Syslog, "tcp://127.0.0.1:0"}),
		journal,
	}
	for _, mode := range []Mode{File, None} {
		for _, stages := range []bool{false, true} {
			t.Run(fmt.Sprint("mode ", mode, " stages ", stages), func(t *testing.T) {
				dir := t.TempDir()
				out, err := os.Create(filepath.Join(dir, "out"))
				if err != nil {
					t.Fatal(err)
				}
				defer out.Close()
				cfg := Config{Stdout: out}
				if stages {
					cfg.Stages = &Stages{Journal: filepath.Join(dir, "stages")}
				}
				c, seen := open(t, cfg)
				o := Options{Mode: mode, Recipe: &Recipe{StripANSI: true}, Source: Source{Program: "queue", Instance: 1, Name: "queue:1", Stream: "stderr"}}
				if mode == File {
					o.Path = filepath.Join(dir, "web.log")
				}
				for _, r := range all {
					r.mu.Lock()
					r.all = nil
					r.mu.Unlock()
					o.Also = append(o.Also, r.target)
				}
				o.Also = append(o.Also, Target{Kind: Stdout})
				s, w := pipe(t, c, o)
				long := strings.Repeat("x", defaultPiece)
				write(t, w, "one\nhalf ")
				all[0].wait(t, 1)
				write(t, w, "a \x1b[1mline\x1b[0m\n\n"+long+"yz\nno end")
				drained(t, s)
				want := []string{"one", "half a line", "", long, "yz", "no end"}
				for _, r := range all {
					got := r.wait(t, len(want))
					for i, m := range got {
						if text := messageOf(t, r, m); text != want[i] {
							t.Errorf("%v: message %d is %.100q, want %.100q", r.target, i, text, want[i])
						}
					}
				}
				text := strings.Join(want, "\n")
				if mode == File {
					same(t, "file", whole(t, o.Path, 0), strings.ReplaceAll(text, long+"\n", long))
				}
				b, _ := os.ReadFile(out.Name())
				same(t, "standard output", string(b), text+"\n")
				if n := seen.list(); len(n) != 0 {
					t.Errorf("notices: %+v", n)
				}
			})
		}
	}
}

// messageOf takes a message apart by other means, and looks at its fields.
func messageOf(t *testing.T, r *receiver, m string) string {
	t.Helper()
	if r.target.Kind == Journal {
		fields := make(map[string]string)
		for line := range strings.Lines(m) {
			k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			if !ok || !strings.HasSuffix(line, "\n") {
				t.Fatalf("the journal is told %q", m)
			}
			fields[k] = v
		}
		for k, v := range map[string]string{"PRIORITY": "3", "SYSLOG_FACILITY": "3", "SYSLOG_IDENTIFIER": "queue:1", "TEND_PROGRAM": "queue", "TEND_INSTANCE": "1", "TEND_STREAM": "stderr"} {
			if fields[k] != v {
				t.Errorf("%s is %q in %q", k, fields[k], m)
			}
		}
		return fields["MESSAGE"]
	}
	got, err := rfc5424.NewParser().Parse([]byte(m))
	if err != nil {
		t.Fatalf("%q: %v", m, err)
	}
	p := got.(*rfc5424.SyslogMessage)
	if *p.Priority != 3<<3|3 || *p.Appname != "queue:1" || *p.MsgID != "stderr" || time.Since(*p.Timestamp) > deadline {
		t.Errorf("%.100q", m)
	}
	if p.Message == nil {
		return ""
	}
	return *p.Message
}

// TestSendFails: what isn't taken is dropped and counted, told once, and the end of
// it too; the file has everything, and the program isn't held up.
func TestSendFails(t *testing.T) {
	dir := t.TempDir()
	target := Target{Syslog, filepath.Join(dir, "log")}
	c, seen := open(t, Config{})
	path := filepath.Join(dir, "web.log")
	s, w := pipe(t, c, Options{Path: path, Also: []Target{target}, Source: Source{Name: "web", Stream: "stdout"}})
	want := lines(0, 10_000)
	write(t, w, want)
	drained(t, s)
	same(t, "file", whole(t, path, 0), want)
	bad := seen.next(t)
	if !errors.Is(bad.Err, os.ErrNotExist) || bad.Path != target.String() || bad.Dropped == 0 {
		t.Errorf("notice: %+v", bad)
	}
	r := listen(t, target)
	if err := c.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, w, "again\n")
	if got := r.wait(t, 1); !strings.HasSuffix(got[0], " again") {
		t.Errorf("%q", got)
	}
	good := seen.next(t)
	if good.Err != nil || good.Path != target.String() || good.Dropped != int64(len(want)) {
		t.Errorf("notice: %+v, %d bytes were dropped", good, len(want))
	}
	// It is started anew: nothing is lost.
	r.close()
	os.Remove(target.Address)
	r = listen(t, target)
	write(t, w, "and again\n")
	if got := r.wait(t, 1); !strings.HasSuffix(got[0], " and again") {
		t.Errorf("%q", got)
	}
	if n := seen.list(); len(n) != 2 {
		t.Errorf("notices: %+v", n)
	}
}

func TestTargetMisuse(t *testing.T) {
	c, _ := open(t, Config{})
	for _, bad := range []Target{{Syslog, ""}, {Syslog, "log"}, {Syslog, "udp://host"}, {Journal, "udp://host:1"}, {Syslog, "http://host:1"}, {Stderr + 1, ""}} {
		if _, err := c.Pipe("web", Options{Mode: None, Also: []Target{bad}, UID: -1, GID: -1}); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
