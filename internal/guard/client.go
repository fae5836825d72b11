package guard

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Client is the daemon's end of the socket. Its methods may be called from
// several goroutines; those that send may wait for the guard.
type Client struct {
	link *link
	fd   int
	held chan struct{} // closed when nothing comes any more, see Hold
	last uint64        // the number of the latest signal; the listener's

	// Kept are the descriptors that the guard has held for this daemon, by name.
	// They are the daemon's now, and the guard holds them on.
	Kept map[string]int
	// Ends are the ends that no daemon has taken.
	Ends []End
	// Died says in words how the daemon before this one ended; "" for the first.
	Died string
}

// A Handler takes what the guard tells. Its functions are called in order, from
// one goroutine, and must not block.
type Handler struct {
	// Signal is told of a signal and its number. The next daemon is told of it as
	// well, unless Heard is called.
	Signal func(s syscall.Signal, no uint64)
	Ended  func(End)
	Gone   func() // the guard is dead; nothing comes any more
}

// Dial greets the guard at the other end of fd, which it takes over, and returns
// when all is known that there is for this daemon. From then on h is told.
func Dial(fd int, h Handler) (*Client, error) {
	unix.CloseOnExec(fd)
	c := &Client{link: newLink(fd), fd: fd, held: make(chan struct{}), Kept: make(map[string]int)}
	if err := c.greet(); err != nil {
		return nil, err
	}
	go c.listen(h)
	return c, nil
}

// greet tells the guard that somebody hears, and takes what it has.
func (c *Client) greet() error {
	if err := c.link.send("hello"); err != nil {
		return fmt.Errorf("cannot speak to the guard: %w", err)
	}
	for {
		text, fds, err := c.link.receive()
		if err != nil {
			return fmt.Errorf("cannot hear from the guard: %w", err)
		}
		switch verb, rest, _ := strings.Cut(text, " "); verb {
		case "fds":
			names := strings.Split(rest, "\n")
			for i, fd := range fds {
				if i < len(names) && c.Kept != nil {
					c.Kept[names[i]] = fd
				} else {
					unix.Close(fd)
				}
			}
		case "ended":
			if e, err := decodeEnd(rest); err == nil {
				c.Ends = append(c.Ends, e)
			}
		case "begin":
			c.Died = rest
			return nil
		}
	}
}

func (c *Client) listen(h Handler) {
	defer func() { // whoever waits for silence has it
		select {
		case <-c.held:
		default:
			close(c.held)
		}
	}()
	for {
		text, fds, err := c.link.receive()
		if err != nil {
			select {
			case <-c.link.done: // closed by us
			default:
				h.Gone()
			}
			return
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
		switch verb, rest, _ := strings.Cut(text, " "); verb {
		case "holding":
			return
		case "signal":
			var n int
			var no uint64
			if got, _ := fmt.Sscan(rest, &n, &no); got > 0 && (no == 0 || no > c.last) { // 0: of an earlier version's guard
				c.last = max(c.last, no)
				h.Signal(syscall.Signal(n), no)
			}
		case "ended":
			if e, err := decodeEnd(rest); err == nil {
				h.Ended(e)
			}
		}
	}
}

// Ready tells the guard that the daemon is up: from now on it is started again
// should it die.
func (c *Client) Ready() error { return c.link.send("ready") }

// Keep gives the guard a descriptor to hold under a name, in place of one that
// it holds under that already. When Keep has returned nil the descriptor
// outlives this process. fd stays the caller's.
func (c *Client) Keep(name string, fd int) error {
	if err := c.link.send("keep "+name, fd); err != nil {
		return fmt.Errorf("cannot give %s to the guard: %w", name, err)
	}
	return nil
}

// Drop lets the guard close what it holds under a name.
func (c *Client) Drop(name string) { c.link.send("drop " + name) } // without a guard nothing is held

// Heard tells the guard that what the signals up to that number ask for is done, or
// put aside.
func (c *Client) Heard(no uint64) { c.link.send(fmt.Sprintf("heard %d", no)) } // without a guard nobody remembers

// Taken tells the guard that the end with that number is put aside.
func (c *Client) Taken(no uint64) { c.link.send(fmt.Sprintf("taken %d", no)) } // without a guard nothing is remembered

// Binary gives the guard another binary to start the daemon from.
func (c *Client) Binary(path string, fd int) error { return c.link.send("binary "+path, fd) }

// Bye tells the guard that the daemon ends on purpose, and the guard is to end
// with it.
func (c *Client) Bye() { c.link.send("bye") }

// Again tells the guard that the daemon ends on purpose, and that another one is
// to begin as the first did: should that not get up, the guard ends as well.
func (c *Client) Again() { c.link.send("again") }

// Hold asks the guard to be silent until it is greeted again, and returns when it
// is: for a daemon that is about to execute another binary in its place.
func (c *Client) Hold() {
	if c.link.send("hold") == nil {
		<-c.held
	}
}

// Resume undoes Hold, for a daemon that stays what it is after all. What came
// meanwhile is in Ends.
func (c *Client) Resume(h Handler) error {
	c.held, c.Kept, c.Ends = make(chan struct{}), nil, nil
	if err := c.greet(); err != nil {
		return err
	}
	go c.listen(h)
	return nil
}

// FD returns the descriptor of the socket, for a daemon that executes another
// binary in its place.
func (c *Client) FD() int { return c.fd }

// Close lets go of the socket, without a word.
func (c *Client) Close() { c.link.close() }
