package notify

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	for text, want := range map[string]News{
		"READY=1\nSTATUS=up & running\n":           {Ready: true, HasStatus: true, Status: "up & running"},
		"READY=0\nREADY\nX=1\n\n":                  {},
		"RELOADING=1\nMONOTONIC_USEC=123":          {Reloading: true},
		"STOPPING=1\nSTATUS=":                      {Stopping: true, HasStatus: true},
		"STATUS=a\x1b[31m\tb \xff":                 {HasStatus: true, Status: "a [31m b �"},
		"STATUS=half\nERRNO=2":                     {HasStatus: true, Status: "half (no such file or directory)"},
		"ERRNO=0\nBUSERROR=org.x.Y":                {HasStatus: true, Status: "org.x.Y"},
		"ERRNO=-1\nMAINPID=x":                      {},
		"MAINPID=4711":                             {MainPID: 4711},
		"MAINPID=4711\nMAINPIDFDID=815":            {MainPID: 4711, MainInode: 815},
		"MAINPIDFD=1\nMAINPIDFDID=-1":              {MainPIDFD: true},
		"WATCHDOG=1":                               {KeepAlive: true},
		"WATCHDOG=trigger":                         {Trouble: true},
		"WATCHDOG_USEC=2500000":                    {Watchdog: 2500 * time.Millisecond},
		"WATCHDOG_USEC=0":                          {Watchdog: -1},
		"EXTEND_TIMEOUT_USEC=1000":                 {Extend: time.Millisecond},
		"EXTEND_TIMEOUT_USEC=18446744073709551615": {Extend: 1<<63 - 1 - (1<<63-1)%time.Microsecond},
		"FDSTORE=1\nFDNAME=http:x":                 {Store: true}, // no name for one
		"FDSTORE=1\nFDPOLL=0\nFDNAME=a b":          {Store: true, NoPoll: true, Name: "a b"},
		"FDSTOREREMOVE=1\nFDNAME=x":                {StoreRemove: true, Name: "x"},
		"BARRIER=1":                                {},
	} {
		if want.Name == "" {
			want.Name = "stored"
		}
		if diff := cmp.Diff(want, Parse(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	if s := Parse("STATUS=" + strings.Repeat("é", 4000)).Status; len(s) > maxStatus+4 {
		t.Errorf("a status of %d bytes", len(s))
	}
}

// FuzzParse: whatever is sent makes no panic, and a status is one line.
func FuzzParse(f *testing.F) {
	f.Add("READY=1\nSTATUS=x\nERRNO=2\nFDNAME=x")
	f.Fuzz(func(t *testing.T, text string) {
		if n := Parse(text); strings.ContainsAny(n.Status, "\n\x1b\x00") || !validName(n.Name) {
			t.Errorf("%+v", n)
		}
	})
}

// A room is a Receiver with what it tells.
type room struct {
	*Receiver
	messages chan *Message
	lines    chan uint64
	hung     chan int
}

func open(t *testing.T) *room {
	t.Helper()
	r := &room{messages: make(chan *Message, 1000), lines: make(chan uint64, 10), hung: make(chan int, 10)}
	var err error
	r.Receiver, err = Open(Handler{
		Message: func(m *Message) { r.messages <- m },
		Line:    func(tag uint64) { r.lines <- tag },
		Hung:    func(_ uint64, fd int) { r.hung <- fd },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func socketAt(t *testing.T) (fd int, send func(text string, files ...int)) {
	t.Helper()
	name := fmt.Sprintf("@tend-test/%d/%s", os.Getpid(), t.Name())
	fd, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	out, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(out) })
	return fd, func(text string, files ...int) {
		t.Helper()
		if err := unix.Sendmsg(out, []byte(text), unix.UnixRights(files...), &unix.SockaddrUnix{Name: name}, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKeptUntilTaken: a message is there for the next who listens until it was
// taken, with its descriptors, and then the next one comes.
func TestKeptUntilTaken(t *testing.T) {
	fd, send := socketAt(t)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	send("one", int(null.Fd()))
	send("two")
	for _, dies := range []bool{true, false} {
		r := open(t)
		if err := r.Socket(fd, 7); err != nil {
			t.Fatal(err)
		}
		m := <-r.messages
		if m.Text != "one" || m.Tag != 7 || m.PID != os.Getpid() || m.UID != os.Getuid() || len(m.Files) != 1 || !m.Whole || !r.Pending(m) {
			t.Errorf("%+v", m)
		}
		m.Close()
		if len(r.messages) != 0 {
			t.Error("the second came before the first was taken")
		}
		if !dies {
			r.Taken(m)
			m := <-r.messages
			if m.Text != "two" || len(m.Files) != 0 {
				t.Errorf("%+v", m)
			}
			m.Close()
			r.Taken(m)
			r.Taken(m) // does nothing
			send("three")
			m = <-r.messages
			if m.Text != "three" {
				t.Errorf("%+v", m)
			}
			m.Close()
		}
		r.Remove(fd)
	}
}

// TestRest: all that is there is taken at once, each once.
func TestRest(t *testing.T) {
	fd, send := socketAt(t)
	r := open(t)
	if err := r.Socket(fd, 1); err != nil {
		t.Fatal(err)
	}
	send("one")
	read := <-r.messages
	defer read.Close()
	send("two")
	send("three")
	var got []string
	for _, m := range r.Rest(fd) {
		if !r.Pending(m) {
			t.Errorf("%q isn't pending", m.Text)
		}
		got = append(got, m.Text)
		m.Close()
	}
	if s := strings.Join(got, " "); s != "one two three" {
		t.Errorf("%q", s)
	}
	if r.Pending(read) {
		t.Error("what Rest has returned is pending")
	}
	r.Taken(read) // takes nothing
	send("four")
	m := <-r.messages
	if m.Text != "four" {
		t.Errorf("%q", m.Text)
	}
	m.Close()
	r.Remove(fd)
	if r.Pending(m) {
		t.Error("of a removed socket something is pending")
	}
}

// TestTooLong: what was cut off is said to be.
func TestTooLong(t *testing.T) {
	fd, send := socketAt(t)
	r := open(t)
	if err := r.Socket(fd, 1); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, maxMessage, maxMessage + 1, 10 * maxMessage} {
		send(strings.Repeat("x", n))
		m := <-r.messages
		if m.Whole != (n <= maxMessage) || len(m.Text) != min(n, maxMessage) {
			t.Errorf("%d bytes: whole %t, %d", n, m.Whole, len(m.Text))
		}
		m.Close()
		r.Taken(m)
	}
}

// TestPipe: a line is told, be it there already, and left in the pipe for another
// one to hear.
func TestPipe(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	out.WriteString("half a ")
	first := open(t)
	if err := first.Pipe(int(in.Fd()), 3); err != nil {
		t.Fatal(err)
	}
	out.WriteString("line\nand more")
	if tag := <-first.lines; tag != 3 {
		t.Errorf("tag %d", tag)
	}
	first.Remove(int(in.Fd()))
	second := open(t)
	if err := second.Pipe(int(in.Fd()), 4); err != nil {
		t.Fatal(err)
	}
	if tag := <-second.lines; tag != 4 {
		t.Errorf("tag %d", tag)
	}
}

// TestHung: that nobody holds the other end is told once, of pipes as well.
func TestHung(t *testing.T) {
	r := open(t)
	var fds [2]int
	for i, wait := range []func(int){func(fd int) { r.File(fd, 1) }, func(fd int) {
		if err := r.Pipe(fd, 1); err != nil {
			t.Error(err)
		}
	}} {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(ends[0])
		fds[i] = ends[0]
		wait(ends[0])
		unix.Write(ends[1], []byte("no line"))
		unix.Close(ends[1])
		if fd := <-r.hung; fd != ends[0] {
			t.Errorf("descriptor %d, not %d", fd, ends[0])
		}
		r.Remove(ends[0]) // does nothing
	}
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r.File(int(f.Fd()), 1)
	if len(r.hung)+len(r.lines) != 0 {
		t.Errorf("more is told of %v", fds)
	}
}
