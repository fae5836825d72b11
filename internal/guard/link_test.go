package guard

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Messages keep their order and their descriptors, be it none or as many as fit.
func TestLink(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := newLink(pair[0]), newLink(pair[1])
	defer b.close()
	var many [maxFDs]int
	for i := range many {
		many[i] = int(os.Stderr.Fd())
	}
	messages := []struct {
		text string
		fds  []int
	}{{"hello", nil}, {"keep one", many[:1]}, {"fds " + strings.Repeat("x", maxMessage-4), many[:]}, {"ready", nil}}
	go func() {
		defer a.close()
		for _, m := range messages {
			if err := a.send(m.text, m.fds...); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, m := range messages {
		text, fds, err := b.receive()
		if err != nil || text != m.text || len(fds) != len(m.fds) {
			t.Fatalf("received %.20q with %d descriptors, %v; want %.20q with %d", text, len(fds), err, m.text, len(m.fds))
		}
		for _, fd := range fds {
			var got, want unix.Stat_t
			if unix.Fstat(fd, &got) != nil || unix.Fstat(int(os.Stderr.Fd()), &want) != nil || got.Ino != want.Ino {
				t.Errorf("%.20q came with descriptor %d of something else", text, fd)
			}
			unix.Close(fd)
		}
	}
	if _, _, err := b.receive(); err != errClosed {
		t.Errorf("receive = %v at the end, want %v", err, errClosed)
	}
}

// The pages of the binary go, what was written stays.
func TestTrim(t *testing.T) {
	before := rssFile(t)
	written = 4711
	Trim()
	if after := rssFile(t); after >= before {
		t.Errorf("%d KiB of files are mapped after it, %d before", after, before)
	}
	if written != 4711 {
		t.Errorf("a variable is %d after it", written)
	}
}

var written = 1 // in the binary's data

func rssFile(t *testing.T) (kib int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("RssFile:"))
	for _, c := range bytes.TrimLeft(rest, " \t") {
		if c < '0' || c > '9' {
			break
		}
		kib = kib*10 + int(c-'0')
	}
	if kib == 0 {
		t.Skip("the kernel doesn't tell how much of files is mapped (Linux 4.5)")
	}
	return kib
}
