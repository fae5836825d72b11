package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"tend/api"
)

// TestGrantPeer: who has got in by which of the mode's bits may do what.
func TestGrantPeer(t *testing.T) {
	const owner, group = 1000, 33
	for _, tt := range []struct {
		mode os.FileMode
		peer peer
		want access
	}{
		{0o600, peer{owner, nil}, admin},
		{0o600, peer{0, []int{0}}, admin},
		{0o660, peer{1001, []int{group}}, admin},
		{0o660, peer{65534, nil}, admin}, // only privileges have let this one in
		{0o666, peer{owner, nil}, admin},
		{0o666, peer{0, nil}, admin},
		{0o666, peer{1001, []int{100, group}}, admin},
		{0o666, peer{1001, []int{100}}, read},
		{0o606, peer{1001, []int{group}}, read},
	} {
		if got := grantPeer(tt.mode, owner, group, tt.peer); got != tt.want {
			t.Errorf("%o, %+v: %d, want %d", tt.mode, tt.peer, got, tt.want)
		}
	}
}

// dialAs connects to a unix socket as somebody else. The thread that has become that
// user ends with the goroutine.
func dialAs(t *testing.T, socket string, uid, gid int, groups ...uint32) net.Conn {
	t.Helper()
	type dialled struct {
		c   net.Conn
		err error
	}
	done := make(chan dialled)
	go func() {
		runtime.LockOSThread()
		set := func(number, a, b, c uintptr) error {
			if _, _, errno := syscall.RawSyscall(number, a, b, c); errno != 0 {
				return errno
			}
			return nil
		}
		list := append(slices.Clone(groups), 0) // its address is needed where there are none
		err := set(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&list[0])), 0)
		if err == nil {
			err = set(syscall.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid))
		}
		if err == nil {
			err = set(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
		}
		var c net.Conn
		if err == nil {
			c, err = net.Dial("unix", socket)
		}
		done <- dialled{c, err}
	}()
	d := <-done
	if d.err != nil {
		t.Fatal(d.err)
	}
	d.c.SetDeadline(time.Now().Add(deadline))
	t.Cleanup(func() { d.c.Close() })
	return d.c
}

// TestPeers tries each row of the table at a socket that is open to all, as those who
// are let in by each of its mode's bits.
func TestPeers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root becomes somebody else")
	}
	s := serve(t, nil)
	if err := os.Chmod(filepath.Dir(s.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(s.socket, 1000, 33); err != nil {
		t.Fatal(err)
	}
	many := make([]uint32, 100)
	for i := range many {
		many[i] = uint32(5000 + i)
	}
	for _, who := range []struct {
		name     string
		uid, gid int
		groups   []uint32
		granted  access
	}{
		{"root", 0, 0, nil, admin},
		{"the owner", 1000, 1000, nil, admin},
		{"one whose group it is", 1001, 33, nil, admin},
		{"one of its group", 1001, 1001, append(many, 33), admin},
		{"a stranger", 1001, 1001, many, read},
	} {
		c := dialAs(t, s.socket, who.uid, who.gid, who.groups...)
		in := bufio.NewReader(c)
		ask := func(method, path, body string) (*http.Response, string) {
			t.Helper()
			fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("%s: %s %s: %v", who.name, method, path, err)
			}
			text, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatalf("%s: %s %s: %v", who.name, method, path, err)
			}
			return r, string(text)
		}
		_, text := ask("GET", "/v1/access", "")
		var v api.Access
		if err := json.Unmarshal([]byte(text), &v); err != nil || !v.Read || v.Act != (who.granted == admin) {
			t.Errorf("%s: %s, %v", who.name, text, err)
		}
		for _, row := range routes {
			if row.events != nil {
				continue // streams are asked for in other tests
			}
			body := ""
			if row.body != nil {
				body = "{}"
			}
			r, text := ask(row.method, strings.ReplaceAll(row.path, "{name}", "web"), body)
			if refused, want := r.StatusCode == http.StatusForbidden, who.granted < row.access; refused != want {
				t.Errorf("%s, %s %s: status %d, refused should be %t: %s", who.name, row.method, row.path, r.StatusCode, want, text)
			} else if refused && !strings.Contains(text, "may look, not act") {
				t.Errorf("%s: %s", who.name, text)
			}
		}
	}
}
