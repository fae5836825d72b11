package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// errRate is why output is left out that comes faster than Options.Rate.
var errRate = errors.New("it prints more than its rate limit allows")

// quietAfter is how long a stream has to stay below its limit until it is told that
// it does.
const quietAfter = 2 * time.Second

// A budget is what a stream with a limit may still print. It is made when there is
// output.
type budget struct {
	left    float64       // bytes; below 0 it is in debt
	at      time.Duration // when that was so, by Capture.now
	dropped int64         // since it was last below the limit
	latest  int64         // as dropped, when the timer was set
}

// over says whether a stream has spent what it may print by now. A second's worth
// may come at once.
func (b *budget) over(rate int64, now time.Duration) bool {
	b.left = min(b.left+float64(rate)*(now-b.at).Seconds(), float64(rate))
	b.at = now
	return b.left <= 0
}

// ration returns whether the next bytes of s go to their destination. If not, s is
// given a failure, as if its destination refused them.
func (c *Capture) ration(s *Stream, o *Options) bool {
	if s.budget == nil {
		s.budget = &budget{left: float64(o.Rate), at: c.now()}
	}
	b := s.budget
	if !b.over(o.Rate, c.now()) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.failure == nil {
		s.failure = &failure{err: errRate}
	}
	s.failure.retry = b.at + time.Duration(-b.left/float64(o.Rate)*float64(time.Second)) + time.Millisecond
	return false
}

// spend takes from a budget what has gone to its destination.
func (c *Capture) spend(s *Stream, n int64) {
	if s.budget == nil {
		return
	}
	s.budget.left -= float64(n)
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.mode == None && s.failure != nil && s.failure.err == errRate {
		s.failure = nil
	}
}

// exceeded counts what s prints too much, and tells of it once until it is over.
func (c *Capture) exceeded(s *Stream, o *Options, n int64) {
	if s.budget == nil || n == 0 {
		return
	}
	c.mu.Lock()
	b := s.budget
	news := b.dropped == 0
	b.dropped += n
	c.mu.Unlock()
	if news {
		c.notice(Notice{Stream: s.name, Path: o.Path, Err: fmt.Errorf("%w, %d bytes a second", errRate, o.Rate), Dropped: n, Limited: true})
		c.awaitQuiet(s, b, o.Path)
	}
}

// awaitQuiet tells when a stream is below its limit again.
func (c *Capture) awaitQuiet(s *Stream, b *budget, path string) {
	c.mu.Lock()
	b.latest = b.dropped
	c.mu.Unlock()
	time.AfterFunc(quietAfter, func() {
		c.mu.Lock()
		if s.closed || c.closed {
			c.mu.Unlock()
			return
		}
		if b.dropped != b.latest {
			c.mu.Unlock()
			c.awaitQuiet(s, b, path)
			return
		}
		dropped := b.dropped
		b.dropped = 0
		c.mu.Unlock()
		c.notice(Notice{Stream: s.name, Path: path, Dropped: dropped, Limited: true})
	})
}

// Bound keeps all logs together within so many bytes, as far as removing rotated
// files, the oldest first, does that; 0 is no bound. Those in the folder count too,
// whose programs may be no more.
func (c *Capture) Bound(total int64, folder string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total, c.folder = total, folder
	c.trimSoon()
}

// trimSoon has the bound looked at in a while. c.mu is held.
func (c *Capture) trimSoon() {
	if c.total == 0 || c.closed {
		return
	}
	c.packer.trim = true
	c.packSoon()
}

// ofFolder are the names of logs in their folder.
var ofFolder = regexp.MustCompile(`^(.*\.log)(\.[0-9]+(\.gz|\.zst)?)?$`)

// trim removes rotated files until the others stay within the bound.
func (c *Capture) trim() error {
	c.mu.Lock()
	total, folder := c.total, c.folder
	paths := make(map[string]bool)
	for _, s := range c.slots {
		if s != nil && s.mode == File {
			paths[s.path] = true
		}
	}
	c.mu.Unlock()
	folders := map[string]bool{folder: true}
	for path := range paths {
		folders[filepath.Dir(path)] = true
	}
	type old struct {
		path, name string
		size       int64
		mtime      time.Time
		id         Position
	}
	var files []old
	var sum int64
	suffix := regexp.MustCompile(`\.[0-9]+(\.gz|\.zst)?$`)
	for dir := range folders {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // it isn't there yet
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			path := suffix.ReplaceAllString(name, "")
			if !paths[path] && (dir != folder || !ofFolder.MatchString(e.Name())) {
				continue
			}
			st, err := e.Info()
			if err != nil || !st.Mode().IsRegular() {
				continue
			}
			sum += st.Size()
			if path != name {
				id, _ := identity(name, Plain)
				files = append(files, old{path, name, st.Size(), st.ModTime(), id})
			}
		}
	}
	slices.SortFunc(files, func(a, b old) int { return a.mtime.Compare(b.mtime) })
	for _, f := range files {
		if sum <= total {
			break
		}
		// A rotation since may have given the name to a newer file.
		held := c.files.acquire(f.path)
		var err error
		if id, ok := identity(f.name, Plain); ok && id == f.id {
			err = os.Remove(f.name)
		}
		c.files.release(held)
		if err != nil {
			return err
		}
		sum -= f.size
	}
	return nil
}
