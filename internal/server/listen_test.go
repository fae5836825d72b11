package server

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tend/api"
)

func listen(t *testing.T, path string, mode os.FileMode, group string) net.Listener {
	t.Helper()
	l, err := ListenUnix(path, mode, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestListenMode(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	for _, mode := range []os.FileMode{0o600, 0o660, 0o666} {
		path := filepath.Join(t.TempDir(), "s")
		l := listen(t, path, mode, strconv.Itoa(os.Getegid()))
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode || info.Sys().(*syscall.Stat_t).Gid != uint32(os.Getegid()) {
			t.Errorf("mode %v, want %v", info.Mode(), mode)
		}
		if names, _ := os.ReadDir(filepath.Dir(path)); len(names) != 1 {
			t.Errorf("left behind: %v", names)
		}
		l.Close()
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("after Close, which another daemon may follow: %v", err)
		}
	}
	if _, err := ListenUnix(filepath.Join(t.TempDir(), "s"), 0o660, "no such group"); err == nil || !strings.Contains(err.Error(), `group "no such group" not found`) {
		t.Error(err)
	}
}

func TestListenStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as a daemon that was killed leaves it
	if _, err := api.Dial(path).Daemon(within(t)); !errors.Is(err, api.ErrNoDaemon) {
		t.Error(err)
	}
	first := listen(t, path, 0o600, "")

	// One who answers nothing is somebody as well, and keeps the socket.
	if _, err := ListenUnix(path, 0o600, ""); err == nil || !strings.Contains(err.Error(), "somebody listens there already") {
		t.Errorf("two on one socket: %v", err)
	}
	// A socket that is another's by now stays.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	listen(t, path, 0o600, "")
	first.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestListenAnswered(t *testing.T) {
	s := serve(t, nil)
	if _, err := ListenUnix(s.socket, 0o600, ""); err == nil || !strings.Contains(err.Error(), "a daemon answers there already, pid 812") {
		t.Error(err)
	}
}

func TestListenNoSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	appendTo(t, path, "precious")
	if _, err := ListenUnix(path, 0o600, ""); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Error(err)
	}
	if _, err := ListenUnix(path+"/s", 0o600, ""); err == nil {
		t.Error("listens below a file")
	}
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tend.sock")
	if _, err := api.Dial(path).Daemon(within(t)); !errors.Is(err, api.ErrNoDaemon) {
		t.Error(err)
	}
	s := New(Config{Control: &fake{}})
	l := listen(t, path, 0o600, "")
	ended := make(chan error)
	go func() { ended <- s.Serve(l) }()
	c := api.Dial(path)
	if _, err := c.Daemon(within(t)); err != nil {
		t.Error(err)
	}
	c.Close()
	if err := s.Shutdown(within(t)); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
