package daemon

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"tend/api"
	"tend/internal/logs"
)

// What is kept of a program's output around its end: some lines, each cut off.
const (
	wordsKept = 5
	wordsRead = 20  // of which some may be of the next run
	wordsLong = 300 // bytes
)

// lastWords are the last lines that an instance has printed before its last end.
type lastWords struct {
	lines []string
	busy  bool          // they are being read
	next  func()        // the reading that waits for that one; nil: none does
	done  chan struct{} // closed when the last of these readings is over
}

// noteWords reads what an instance has printed last, beside the loop, and tells
// those lines that are of its run: nobody waits for this, and the next one may be
// printing meanwhile. Where runs end faster than that is read, some aren't told.
func (d *Daemon) noteWords(n *instance, tell func(lines []string)) {
	if n.out == nil {
		return
	}
	dest, _ := destinations(n.name, n.spec, d.place.logs, nil)
	if dest.Mode != logs.File {
		return
	}
	out, from, gen, done := n.out, n.from, n.gen, make(chan struct{})
	read := func() {
		text, end := readWords(out, dest)
		finish := func() {
			var until *logs.Position
			if n.gen != gen {
				until = n.from
			}
			n.words.lines = wordsOf(text, end, nil, until)
			tell(wordsOf(text, end, from, until))
			close(done)
			if n.words.busy = n.words.next != nil; n.words.busy {
				d.words.put(n.words.next)
				n.words.next = nil
			}
		}
		d.post(func() {
			if n.spawning { // the next one prints already, and where it began to isn't known yet
				n.hear.later = append(n.hear.later, finish)
				return
			}
			finish()
		})
	}
	if n.words.next != nil { // whose turn has passed
		close(n.words.done)
	}
	n.words.done = done
	if n.words.busy {
		n.words.next = read
		return
	}
	n.words.busy = true
	d.words.put(read)
}

// readWords returns the end of a log, with what is still in the pipe when it is
// asked, and the position behind it. out may be nil.
func readWords(out *logs.Stream, dest logs.Options) (text string, end logs.Position) {
	if out != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		out.Drain(ctx) // what there is will do
		cancel()
	}
	var b bytes.Buffer
	end, err := logs.Read(&b, dest.Path, dest.Keep, wordsRead)
	if err != nil {
		return "", end
	}
	return b.String(), end
}

// wordsOf returns the last lines of a text whose last byte is before the position
// end of a log: of what was written from one position until another one. Either
// may be nil, or of a file that has been rotated away: then it isn't a bound.
func wordsOf(text string, end logs.Position, from, until *logs.Position) []string {
	same := func(p *logs.Position) bool { return p != nil && p.Inode == end.Inode && p.Birth == end.Birth }
	if same(until) {
		text = text[:len(text)-int(min(max(end.Offset-until.Offset, 0), int64(len(text))))]
		end.Offset = min(end.Offset, until.Offset)
	}
	if same(from) {
		text = text[len(text)-int(min(max(end.Offset-from.Offset, 0), int64(len(text)))):]
	}
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.ToValidUTF8(strings.TrimRight(line, "\r\n"), string(utf8.RuneError))
		if len(line) > wordsLong {
			line = strings.ToValidUTF8(line[:wordsLong], "") + "…"
		}
		lines = append(lines, line)
	}
	return lines[max(0, len(lines)-wordsKept):]
}

// Why implements server.Control.
func (c control) Why(ctx context.Context, pattern string) ([]api.Why, error) {
	type source struct {
		out  *logs.Stream
		dest logs.Options
	}
	from := make(map[int]source) // whose last words aren't known
	list, err := look(ctx, c.d, func() (list []api.Why) {
		now := time.Now()
		for _, s := range c.d.engine.Stories(pattern) {
			w := api.Why{Name: s.Name, Program: s.Spec.Name, State: s.State.String(), Since: s.Since.Round(0), Text: s.Text(now)}
			w.Do, w.Does = s.Do()
			for i := len(s.Ends) - 1; i >= 0; i-- {
				end := s.Ends[i]
				w.Ends = append(w.Ends, api.End{Exit: *exitView(&end.Exit), UptimeSeconds: end.Uptime.Seconds(), Times: end.Times})
			}
			for _, m := range s.After {
				w.WaitsFor = append(w.WaitsFor, api.Neighbour{Name: m.Name, State: m.State.String(), Message: m.Message, Blocks: m.Blocks})
			}
			next := s.Next
			if !s.Due.IsZero() && (next.IsZero() || s.Due.Before(next)) {
				next = s.Due
			}
			if !next.IsZero() {
				next = next.Round(0)
				w.Next = &next
			}
			n := c.d.instances[s.ID]
			switch dest, _ := destinations(s.Name, s.Spec, c.d.place.logs, nil); {
			case n != nil && n.words.lines != nil && !n.words.busy && s.PID != 0:
				w.Lines = n.words.lines
			case dest.Mode == logs.File && s.Gen > 0:
				src := source{dest: dest}
				if n != nil {
					src.out = n.out
				}
				from[len(list)] = src
			}
			list = append(list, w)
		}
		return list
	})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &api.Error{Kind: api.KindNotFound, Message: fmt.Sprintf("no program is named %q", pattern)}
	}
	for i, src := range from {
		text, end := readWords(src.out, src.dest)
		list[i].Lines = wordsOf(text, end, nil, nil)
	}
	return list, nil
}
