// Package hook tells the outside of events: it posts them to web servers and has
// commands run, beside whoever sends them.
//
// Each destination has a queue of its own, which is bounded: a server that is
// away holds up nobody else, and costs a bounded amount of memory. What can't be
// posted is tried again, with longer and longer waits, until it is given up; a
// command isn't, since nobody knows how much of it was done. What is dropped is
// counted, and told of by [Options.Notice].
//
// The package knows nothing of what the messages say, and starts no process: a
// command is a function of whoever owns processes.
package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

// A Message is told to one destination, a web server or a command.
type Message struct {
	To   string // names the destination, for people: "on_event.url of web"
	Body []byte // JSON

	// Of a post.
	URL        string
	Event      string // what the header Tend-Event says
	SecretFile string // whose contents sign the body; "" for none

	// Of a command: it runs it to its end, and obeys the context.
	Run func(ctx context.Context) error

	Timeout time.Duration // of one try; 0: none
}

// A Notice says that a destination has lost messages.
type Notice struct {
	To   string
	Lost int   // since the last notice of it
	Err  error // why the latest of them
}

// Options say how a [Sender] works. Zero values stand for the defaults.
type Options struct {
	Agent  string       // the header User-Agent
	Notice func(Notice) // called from any goroutine; must not block

	Queue int             // messages that wait for one destination; 64
	Waits []time.Duration // between two tries to post; 1 s to 1 min, some four minutes in all
}

// tasksAtOnce is how many posts and commands are under way at the same time.
const tasksAtOnce = 16

// A Sender tells of messages. Its methods may be called from several goroutines.
type Sender struct {
	o      Options
	client http.Client
	slots  chan struct{}
	ending context.Context // ends the waits between tries
	hurry  context.CancelFunc
	dead   context.Context // ends the tries
	kill   context.CancelFunc

	mu    sync.Mutex
	to    map[string]*queue // only those with messages
	lost  map[string]*Notice
	open  int           // messages that aren't told
	empty chan struct{} // closed when open becomes 0; nil: nobody waits
}

// A queue is what waits for one destination.
type queue struct{ list []Message }

// New returns a sender. What it has is let go of by [Sender.Close].
func New(o Options) *Sender {
	if o.Queue == 0 {
		o.Queue = 64
	}
	if o.Waits == nil {
		for d := time.Second; d < time.Minute; d *= 2 {
			o.Waits = append(o.Waits, d)
		}
		o.Waits = append(o.Waits, time.Minute, time.Minute, time.Minute)
	}
	if o.Notice == nil {
		o.Notice = func(Notice) {}
	}
	s := &Sender{o: o, slots: make(chan struct{}, tasksAtOnce), to: make(map[string]*queue), lost: make(map[string]*Notice)}
	s.ending, s.hurry = context.WithCancel(context.Background())
	s.dead, s.kill = context.WithCancel(context.Background())
	s.client = http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true},
		// Who is told is who was named: an answer can't send the events elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s
}

// Send puts a message into the queue of its destination. It never blocks: where
// the queue is full the message is dropped, which is counted.
func (s *Sender) Send(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.to[m.To]
	switch {
	case q == nil:
		q = new(queue)
		s.to[m.To] = q
		go s.work(m.To, q)
	case len(q.list) >= s.o.Queue:
		s.lose(m.To, fmt.Errorf("%d wait already", len(q.list)))
		return
	}
	q.list = append(q.list, m)
	s.open++
}

// lose counts a message that is dropped. s.mu is held.
func (s *Sender) lose(to string, err error) {
	n := s.lost[to]
	if n == nil {
		n = &Notice{To: to}
		s.lost[to] = n
	}
	n.Lost++
	n.Err = err
}

// work tells one destination of its messages, one after the other, until none is
// left.
func (s *Sender) work(to string, q *queue) {
	for {
		s.mu.Lock()
		if notice := s.lost[to]; notice != nil {
			delete(s.lost, to)
			s.mu.Unlock()
			s.o.Notice(*notice)
			continue
		}
		if len(q.list) == 0 {
			delete(s.to, to)
			s.mu.Unlock()
			return
		}
		m := q.list[0]
		s.mu.Unlock()
		err := s.tell(m)
		s.mu.Lock()
		// It has kept its place until now: the bound is one of memory.
		q.list[0] = Message{}
		q.list = q.list[1:]
		if err != nil {
			s.lose(to, err)
		}
		if s.open--; s.open == 0 && s.empty != nil {
			close(s.empty)
			s.empty = nil
		}
		s.mu.Unlock()
	}
}

// tell tells of one message, trying again where that may help.
func (s *Sender) tell(m Message) error {
	id := rand.Text() // the same for each try: who has had it knows
	for try := 0; ; try++ {
		again, err := s.try(m, id)
		if err == nil || !again || try == len(s.o.Waits) || s.ending.Err() != nil {
			return err
		}
		wait := time.NewTimer(s.o.Waits[try])
		select {
		case <-wait.C:
		case <-s.ending.Done(): // once more, and no wait after that
		}
		wait.Stop()
	}
}

// try tells of a message once, and reports whether another try may help.
func (s *Sender) try(m Message, id string) (again bool, err error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-s.dead.Done():
		return false, errors.New("tend ends")
	}
	ctx, cancel := context.WithCancel(s.dead)
	if m.Timeout > 0 {
		ctx, cancel = context.WithTimeout(s.dead, m.Timeout)
	}
	defer cancel()
	if m.Run != nil {
		return false, m.Run(ctx)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL, bytes.NewReader(m.Body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.o.Agent)
	req.Header.Set("Tend-Event", m.Event)
	req.Header.Set("Tend-Delivery", id)
	if m.SecretFile != "" {
		secret, err := os.ReadFile(m.SecretFile) // each time: it may be another one
		if err != nil {
			return true, fmt.Errorf("cannot sign it: %w", err)
		}
		req.Header.Set("Tend-Signature", Sign(bytes.TrimRight(secret, "\r\n"), m.Body))
	}
	r, err := s.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // which may hold a password
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", m.Timeout)
		}
		return true, err
	}
	io.Copy(io.Discard, io.LimitReader(r.Body, 64<<10)) // so that the connection can be used again
	r.Body.Close()
	switch code := r.StatusCode; {
	case code/100 == 2:
		return false, nil
	case code/100 == 5, code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code == http.StatusTooEarly:
		return true, fmt.Errorf("it answers %s", r.Status)
	default: // it will say the same again
		return false, fmt.Errorf("it answers %s", r.Status)
	}
}

// Sign returns what the header Tend-Signature says of a body: "sha256=" and the
// HMAC-SHA256 in hexadecimal digits.
func Sign(secret, body []byte) string {
	h := hmac.New(sha256.New, secret)
	h.Write(body)
	return "sha256=" + hex.EncodeToString(h.Sum(nil))
}

// Flush waits until all is told, or given up, or ctx ends. It reports how many
// messages are still open.
func (s *Sender) Flush(ctx context.Context) int {
	s.mu.Lock()
	if s.open == 0 {
		s.mu.Unlock()
		return 0
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	s.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// Close tells of what waits, each once more and without waits between tries,
// until ctx ends; then it ends what is under way. It returns how many messages
// were given up for that.
func (s *Sender) Close(ctx context.Context) int {
	s.hurry()
	left := s.Flush(ctx)
	s.kill()
	s.Flush(context.Background()) // each try ends at once now
	s.client.CloseIdleConnections()
	return left
}
