package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tell is a client of sd_notify(3): it sends its arguments as one message, a line
// each, to $NOTIFY_SOCKET. "-store FILE" in front sends the open file with it, and
// "-barrier" returns when all messages were taken.
func tell(args []string) {
	name := os.Getenv("NOTIFY_SOCKET")
	send := func(text string, files ...int) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Sendmsg(fd, []byte(text), unix.UnixRights(files...), &unix.SockaddrUnix{Name: name}, 0)
		}
		if err != nil {
			panic(fmt.Sprintf("cannot send to %q: %v", name, err))
		}
		unix.Close(fd)
	}
	var files []int
	barrier := false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-store":
			f, err := unix.Open(args[1], unix.O_RDONLY, 0)
			if err != nil {
				panic(err)
			}
			files, args = append(files, f), args[2:]
		case "-barrier":
			barrier, args = true, args[1:]
		default:
			panic(args[0])
		}
	}
	send(strings.Join(args, "\n"), files...)
	if !barrier {
		return
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		panic(err)
	}
	send("BARRIER=1", ends[1])
	unix.Close(ends[1])
	n, err := 0, error(unix.EINTR)
	for err == unix.EINTR {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(ends[0])}}, int(patience.Milliseconds()))
	}
	if n != 1 {
		panic(fmt.Sprintf("nobody has closed the barrier: %v", err))
	}
}

// handedOver prints the descriptors that were handed over by sd_listen_fds(3),
// with what is in them.
func handedOver() {
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		fmt.Println("nothing handed over", pid)
		return
	}
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	for i, name := range strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")[:n] {
		b, err := io.ReadAll(io.NewSectionReader(os.NewFile(uintptr(3+i), name), 0, 1000))
		if err != nil {
			panic(err)
		}
		fmt.Printf("handed over %s: %s\n", name, strings.TrimSpace(string(b)))
	}
	fmt.Println("handed over", n)
}
