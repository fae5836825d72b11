package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestSpawnErrors(t *testing.T) {
	w := open(t, Config{})
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("typo.sh", "#!/usr/bin/pyhton -u\n", 0o755)
	write("crlf.sh", "#!/bin/sh\r\n", 0o755)
	write("data", "x", 0o644)
	write("elf", "\x7fELF\x00\x00junk", 0o755)

	for _, test := range []struct {
		name string
		set  func(*Attempt)
		want string // of the error
		hint string // in the hint
		is   error
	}{
		{"nothing", func(a *Attempt) { a.Argv = nil }, "no command given", "", nil},
		{"dir", func(a *Attempt) { a.Dir = "/no/such" }, `directory "/no/such": no such file or directory`, "create it", unix.ENOENT},
		{"dir is a file", func(a *Attempt) { a.Dir = dir + "/data" }, `directory "` + dir + `/data": not a directory`, "", unix.ENOTDIR},
		{"command", func(a *Attempt) { a.Argv = []string{"foo-bar"} }, `command "foo-bar" not found in PATH`, "PATH", unix.ENOENT},
		{"file", func(a *Attempt) { a.Argv = []string{"./no"} }, `"./no": no such file or directory`, "", unix.ENOENT},
		{"interpreter", func(a *Attempt) { a.Argv = []string{"./typo.sh"} }, `"./typo.sh": bad interpreter "/usr/bin/pyhton": no such file`, "pyhton", unix.ENOENT},
		{"crlf", func(a *Attempt) { a.Argv = []string{"./crlf.sh"} }, `"./crlf.sh": bad interpreter "/bin/sh\r": no such file`, "CR LF", unix.ENOENT},
		{"mode", func(a *Attempt) { a.Argv = []string{"./data"} }, `"./data": permission denied (not executable)`, "chmod +x", unix.EACCES},
		{"mode in PATH", func(a *Attempt) { a.Argv = []string{"data"}; a.Env = []string{"PATH=/no:.:/nor"} }, `"./data": permission denied (not executable)`, "chmod +x", unix.EACCES},
		{"a directory", func(a *Attempt) { a.Argv = []string{dir} }, `"` + dir + `": is a directory`, "", unix.EACCES},
		{"format", func(a *Attempt) { a.Argv = []string{"./elf"} }, `"./elf": exec format error`, "another machine", unix.ENOEXEC},
		{"nul", func(a *Attempt) { a.Argv = []string{"/bin/true", "a\x00b"} }, `"/bin/true": a NUL byte: invalid argument`, "", unix.EINVAL},
		{"descriptor", func(a *Attempt) { a.Stdout = 9999 }, `stdio "stdout": bad file descriptor`, "", unix.EBADF},
		{"limit", func(a *Attempt) { a.Limits = []Rlimit{{unix.RLIMIT_CORE, 2, 1}} }, `limit "core": invalid argument`, "", unix.EINVAL},
		{"long", func(a *Attempt) { a.Argv = []string{"/bin/true", strings.Repeat("x", 1<<20)} }, `"/bin/true": argument list too long`, "", unix.E2BIG},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := w.attempt(nil, "/bin/true")
			a.Dir = dir
			test.set(a)
			_, err := w.Spawn(a)
			var e *SpawnError
			if !errors.As(err, &e) {
				t.Fatalf("%v, want a SpawnError", err)
			}
			if want := "cannot start: " + test.want; err.Error() != want {
				t.Errorf("%q, want %q", err, want)
			}
			if !strings.Contains(e.Hint(), test.hint) {
				t.Errorf("hint %q, want %q", e.Hint(), test.hint)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
		})
	}
	if n := len(w.facts); n != 0 {
		t.Errorf("%d facts of what never ran", n)
	}
}

// A script without a #! line runs as with execvp(3).
func TestScriptWithoutInterpreter(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/job", []byte("echo \"$0 $1\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		a := w.attempt(nil, "./job", "arg")
		a.Dir = dir
		if got := w.output(a); got != "./job arg\n" {
			t.Errorf("%q", got)
		}
		a = w.attempt(nil, "job", "arg")
		a.Env = append(a.Env, "PATH=/no:"+dir+":/bin")
		if got := w.output(a); got != dir+"/job arg\n" {
			t.Errorf("%q", got)
		}
	})
}

// Processes of a user beyond its limit are refused with a sentence.
func TestProcessLimit(t *testing.T) {
	needRoot(t)
	w := open(t, Config{})
	a := w.attempt(nil, "/bin/sleep", "1000")
	a.Cred = &Credential{UID: 12399, GID: 12399, Groups: []uint32{12399}}
	// The kernel looks at what runs before the new one counts: two for one.
	b := *a
	b.Tag++
	running := []*Process{w.spawn(a), w.spawn(&b)}
	b.Limits = []Rlimit{{unix.RLIMIT_NPROC, 1, 1}}
	_, err := w.Spawn(&b)
	var e *SpawnError
	if !errors.As(err, &e) || !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("%v", err)
	}
	if want := "cannot start: resource temporarily unavailable (RLIMIT_NPROC of user 12399 or pids limit reached)"; err.Error() != want {
		t.Errorf("%q", err)
	}
	if !strings.Contains(e.Hint(), "nproc") {
		t.Errorf("hint %q", e.Hint())
	}
	for _, p := range running {
		p.KillTree()
		w.ended()
	}
	if got, want := forkError(unix.EAGAIN, a.Cred).Error(), "cannot start: cannot fork: resource temporarily unavailable (RLIMIT_NPROC of user 12399 or pids limit reached)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTooManyOpenFiles(t *testing.T) {
	w := open(t, Config{})
	a := w.attempt(nil, "/bin/true")
	w.spawn(a)
	w.ended()
	var old unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	// Without package syscall, which would no longer know what it gives to the
	// children of os/exec.
	set := func(l unix.Rlimit) {
		if _, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&l)), 0, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	set(unix.Rlimit{Cur: 3, Max: old.Max}) // below what is open: nothing new can be
	a.Stderr = -1
	_, err := w.Spawn(a)
	set(old)
	var e *SpawnError
	if !errors.As(err, &e) || err.Error() != "cannot start: too many open files" || e.Hint() == "" {
		t.Errorf("%v", err)
	}
	w.spawn(a)
	w.ended()
}

func TestLookupUser(t *testing.T) {
	dir := t.TempDir()
	passwd, group := dir+"/passwd", dir+"/group"
	for name, content := range map[string]string{
		passwd: "# users\nroot:x:0:0:root:/root:/bin/bash\nbroken:line\nwww:x:33:33::/srv:/usr/sbin/nologin\n1000:x:77:78::/n:/bin/sh\nann:x:1000:100::/home/ann:\n",
		group:  "root:x:0:\nwww:x:33:\nadm:x:4:ann,www\nssl:x:110:www\nusers:x:100:\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		user, group string
		want        string // uid gid groups name home, or error
	}{
		{"www", "", "33 33 [33 4 110] www /srv"},
		{"33", "", "33 33 [33 4 110] www /srv"},
		{"www", "adm", "33 4 [4 110] www /srv"},
		{"1000", "", "77 78 [78] 1000 /n"},
		{"4242", "users", "4242 100 [100]  /"},
		{"4242", "4243", "4242 4243 [4243]  /"},
		{"4242", "", "cannot tell the group of user \"4242\", who has no entry in " + passwd + ": not found; set group"},
		{"wwww", "", `no such user "wwww": not found`},
		{"www", "nope", `no such group "nope": not found`},
		{"4294967295", "0", `no such user "4294967295": not found`},
		{"-1", "", `no such user "-1": not found`},
	} {
		acc, err := lookupUser(passwd, group, test.user, test.group)
		got := ""
		if err != nil {
			got = err.Error()
			if !errors.Is(err, ErrNoAccount) {
				t.Errorf("%v is not ErrNoAccount", err)
			}
		} else {
			got = sprint(acc.Cred.UID, acc.Cred.GID, acc.Cred.Groups, acc.Name, acc.Home)
		}
		if got != test.want {
			t.Errorf("%s:%s: %q, want %q", test.user, test.group, got, test.want)
		}
	}
	if acc, err := LookupUser("", ""); err != nil || int(acc.Cred.UID) != os.Geteuid() || int(acc.Cred.GID) != os.Getegid() {
		t.Errorf("ourselves: %+v, %v", acc, err)
	}
	if _, err := lookupUser(dir, group, "x", ""); err == nil || errors.Is(err, ErrNoAccount) {
		t.Errorf("unreadable passwd: %v", err)
	}
}

func sprint(a ...any) string { return strings.TrimSuffix(fmt.Sprintln(a...), "\n") }
