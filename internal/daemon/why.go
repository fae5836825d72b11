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
	wordsLong = 300 // bytes
)

// lastWords are the last lines that an instance has printed before its last end.
type lastWords struct {
	lines []string
	busy  bool // they are being read
}

// noteWords reads what an instance has printed last, beside the loop. What the
// next process prints meanwhile may be among it: nobody waits for this.
func (d *Daemon) noteWords(n *instance) {
	if n.words.busy || n.out == nil {
		return
	}
	dest, _ := destinations(n.name, n.spec, d.place.logs, nil)
	if dest.Mode != logs.File {
		return
	}
	n.words.busy = true
	out := n.out
	d.words.put(func() {
		lines := wordsOf(out, dest)
		d.post(func() { n.words = lastWords{lines: lines} })
	})
}

// wordsOf returns the last lines of a log, with those that are still in the pipe
// when it is asked. out may be nil.
func wordsOf(out *logs.Stream, dest logs.Options) []string {
	if out != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		out.Drain(ctx) // what there is will do
		cancel()
	}
	var text bytes.Buffer
	if _, err := logs.Read(&text, dest.Path, dest.Keep, wordsKept); err != nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(text.String()) {
		line = strings.ToValidUTF8(strings.TrimRight(line, "\r\n"), string(utf8.RuneError))
		if len(line) > wordsLong {
			line = strings.ToValidUTF8(line[:wordsLong], "") + "…"
		}
		lines = append(lines, line)
	}
	return lines
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
		list[i].Lines = wordsOf(src.out, src.dest)
	}
	return list, nil
}
