package daemon

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tend/internal/logs"
	"tend/internal/spec"
)

// TestStdin: what is written arrives in order, whether the pipe has room for it or
// not, and nobody waits for who doesn't read.
func TestStdin(t *testing.T) {
	in, fd, err := newStdin()
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	reader := os.NewFile(uintptr(fd), "reader")
	var sent bytes.Buffer
	text := strings.Repeat("0123456789abcdef", 1000)
	for err == nil {
		if err = in.write(text); err == nil {
			sent.WriteString(text)
		}
	}
	if !errors.Is(err, errUnread) || sent.Len() < maxUnread {
		t.Errorf("%d bytes are taken, and then: %v", sent.Len(), err)
	}
	got := make([]byte, sent.Len())
	if _, err := io.ReadFull(reader, got); err != nil || !bytes.Equal(got, sent.Bytes()) {
		t.Errorf("what is read isn't what was written (%v)", err)
	}
	if err := in.write("more"); err != nil {
		t.Error(err)
	}
	reader.Close()
	// What is written now may wait behind what was written before, until that has
	// met the end of the reader.
	for err = nil; !errors.Is(err, errNotRead); {
		err = in.write("x")
	}
}

// TestStdinOfOneLongText: it may be longer than what may wait.
func TestStdinOfOneLongText(t *testing.T) {
	in, fd, err := newStdin()
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	reader := os.NewFile(uintptr(fd), "reader")
	defer reader.Close()
	text := strings.Repeat("x", 3*maxUnread)
	if err := in.write(text); err != nil {
		t.Fatal(err)
	}
	if n, err := io.CopyN(io.Discard, reader, int64(len(text))); err != nil {
		t.Errorf("%d bytes came: %v", n, err)
	}
}

// TestSockets: a socket is there for as long as somebody uses it, and is made anew for
// who comes later.
func TestSockets(t *testing.T) {
	dir := t.TempDir()
	for _, at := range []spec.Socket{
		{Network: "tcp", Address: "localhost:0", UID: -1, GID: -1, Backlog: 5},
		{Network: "unix", Address: filepath.Join(dir, "s"), Mode: 0o700, UID: os.Getuid(), GID: os.Getgid()},
	} {
		var s sockets
		for range 2 {
			one, made, err := s.take("g", at)
			if err != nil || !made {
				t.Fatal(made, err)
			}
			two, made, err := s.take("g", at)
			if err != nil || made || two != one {
				t.Fatalf("the second user of %s has socket %d, not %d (%v)", at.Address, two, one, err)
			}
			name, err := unix.Getsockname(one)
			if err != nil {
				t.Fatal(err)
			}
			address := at.Address
			if four, ok := name.(*unix.SockaddrInet4); ok {
				address = (&net.TCPAddr{IP: four.Addr[:], Port: four.Port}).String()
			}
			c, err := net.Dial(at.Network, address)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if s.release("g") {
				t.Error("it is closed under its last user")
			}
			if !s.release("g") {
				t.Error("it isn't closed when nobody uses it")
			}
			if c, err := net.Dial(at.Network, address); err == nil {
				c.Close()
				t.Errorf("%s answers, and nobody is there", address)
			}
		}
	}
}

// TestSocketOverFile: what isn't a socket isn't removed for one.
func TestSocketOverFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	var s sockets
	if _, _, err := s.take("g", spec.Socket{Network: "unix", Address: path, UID: -1, GID: -1}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("error %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file holds %q (%v)", b, err)
	}
}

// TestVoice: only outputs that somebody listens to leave the way of all others.
func TestVoice(t *testing.T) {
	e := newEars(&Daemon{opts: Options{Stdout: os.Stdout}}, "tend")
	none, _ := e.voice(nil, spec.Member{})
	if none.heard() {
		t.Error("a program of another format is heard")
	}
	for _, test := range []struct {
		m        spec.Member
		out, err bool
	}{
		{spec.Member{}, false, false},
		{spec.Member{Stdout: spec.Heard{Events: true}}, true, false},
		{spec.Member{Stderr: spec.Heard{Capture: 1}}, false, true},
		{spec.Member{StripANSI: true}, true, true},
		{spec.Member{Pool: spec.Pool{Events: "EVENT"}}, true, false},
	} {
		test.m.Group = "g"
		v, changed := e.voice(nil, test.m)
		var out, err logs.Options
		v.taps(&out, &err)
		if !changed || out.Tap != nil != test.out || err.Tap != nil != test.err {
			t.Errorf("%+v: output %v, errors %v", test.m, out.Tap != nil, err.Tap != nil)
		}
		if again, changed := e.voice(v, test.m); again != v || changed {
			t.Errorf("%+v: the same member has another voice", test.m)
		}
	}
}
