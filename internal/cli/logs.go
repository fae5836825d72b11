package cli

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tend/api"
)

func (a *app) logsCommand() *cobra.Command {
	var o api.LogOptions
	var since, until string
	cmd := a.does(&cobra.Command{
		Use:     "logs [NAME…]",
		Short:   "show what programs print",
		GroupID: groupLook,
		Long: `Shows the last lines of programs, and with -f what they print from now on,
across rotations and restarts of the daemon. Several instances are merged with
the name in front, in the order of their times as far as these are known; a
single one is shown as it is.

--since and --until take a time of day, a date, both ("2026-01-02 15:04"), or
how long ago that is ("10m"). They are exact with log.timestamp and with
log.format = "json", and where programs begin their lines with a date and a
time; else to about a second. With these and --grep all lines are shown, unless
-n says how many.`,
		Example: `  tend logs mailer
  tend logs -f web queue
  tend logs -n 500 'queue:*'
  tend logs --since 10m --grep 'error|panic'`,
		Args: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Lines < 0 {
				return misused("-n takes a number of lines from 0 up, not %d", o.Lines)
			}
			now := time.Now()
			if o.From, err = pastTime(since, now); err != nil {
				return misused("--since: %v", err)
			}
			if o.Until, err = pastTime(until, now); err != nil {
				return misused("--until: %v", err)
			}
			if _, err := regexp.Compile(o.Grep); err != nil {
				return misused("--grep: %v", err)
			}
			if o.Follow && until != "" {
				return misused("-f follows what comes, and --until ends before that")
			}
			if since+until+o.Grep != "" && !cmd.Flags().Changed("lines") {
				o.Lines = -1
			}
			return nil
		},
		ValidArgsFunction: a.completeNames,
	}, func(ctx context.Context, _ *cobra.Command, patterns []string) error {
		return a.logs(ctx, patterns, o)
	})
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on as programs print")
	cmd.Flags().IntVarP(&o.Lines, "lines", "n", 20, "`number` of lines of each instance")
	cmd.Flags().StringVar(&since, "since", "", "only lines that were printed since a `time`")
	cmd.Flags().StringVar(&until, "until", "", "only lines that were printed until a `time`")
	cmd.Flags().StringVar(&o.Grep, "grep", "", "only lines that match a regular `expression`")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) logs(ctx context.Context, patterns []string, o api.LogOptions) error {
	c := a.connect()
	list, err := c.Instances(ctx)
	if err != nil {
		return err
	}
	if list, err = choose(list, patterns); err != nil {
		return err
	}
	if len(patterns) == 0 {
		patterns = []string{"*"}
	}
	p := &prefixer{a: a, alone: len(list) == 1}
	for _, i := range list {
		p.width = max(p.width, width(clean(i.Name)))
	}
	if !o.Follow {
		return a.mergeLogs(ctx, c, patterns, o, p)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(patterns))
	for _, pattern := range patterns {
		go func() { ended <- a.stream(ctx, c, pattern, o, p) }()
	}
	var first error
	for range patterns {
		if err := <-ended; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// mergeLogs prints what there is of the logs of several patterns, in the order of
// the times of their lines. Where no times are known, that of the patterns holds.
func (a *app) mergeLogs(ctx context.Context, c client, patterns []string, o api.LogOptions, p *prefixer) error {
	type source struct {
		next func() (api.LogLine, error, bool)
		line api.LogLine
	}
	o.Times = len(patterns) > 1
	var sources []*source
	for _, pattern := range patterns {
		next, stop := iter.Pull2(c.Logs(ctx, pattern, o))
		defer stop()
		sources = append(sources, &source{next: next})
	}
	advance := func(s *source) error {
		line, err, ok := s.next()
		if err == nil && !ok {
			sources = slices.DeleteFunc(sources, func(o *source) bool { return o == s })
		}
		if s.line = line; s.line.Time == nil {
			s.line.Time = new(time.Time) // at once: nobody knows when
		}
		return err
	}
	for _, s := range slices.Clone(sources) {
		if err := advance(s); err != nil {
			return err
		}
	}
	for len(sources) > 0 {
		s := slices.MinFunc(sources, func(a, b *source) int { return a.line.Time.Compare(*b.line.Time) })
		if s.line.Time.IsZero() {
			s.line.Time = nil
		}
		if err := p.print(s.line); err != nil {
			return err
		}
		if err := advance(s); err != nil {
			return err
		}
	}
	return nil
}

// pastTime understands a time as people write it, or how long ago it is; the zero
// time is none.
func pastTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(strings.TrimPrefix(s, "-")); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if days, err := strconv.Atoi(strings.TrimSuffix(s, "d")); err == nil && days >= 0 && strings.HasSuffix(s, "d") {
		return now.AddDate(0, 0, -days), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			y, m, d := now.Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: write it as 15:04, \"2006-01-02 15:04:05\", 2006-01-02T15:04:05Z, or how long ago it is, as 10m or 2d", s)
}

// stream prints the logs of a pattern. A follower whose daemon goes away waits
// for the next one and goes on where it was.
func (a *app) stream(ctx context.Context, c client, pattern string, o api.LogOptions, p *prefixer) error {
	for {
		var broken error
		for line, err := range c.Logs(ctx, pattern, o) {
			if err != nil {
				broken = err
				break
			}
			if line.Position != "" {
				o.Since = line.Position
			}
			if err := p.print(line); err != nil {
				return err
			}
		}
		var said *api.Error
		if broken == nil || !o.Follow || ctx.Err() != nil || errors.As(broken, &said) && said.Kind != api.KindUnavailable {
			return broken
		}
		if err := p.awaitDaemon(ctx, c); err != nil {
			return err
		}
	}
}

// A prefixer prints lines of several instances with the name in front. Its
// methods may be called from several goroutines.
type prefixer struct {
	a *app

	mu     sync.Mutex
	width  int
	alone  bool   // there is but one instance: no prefix
	name   string // of that one, once it is known
	waited sync.Mutex
}

func (p *prefixer) print(l api.LogLine) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.a
	if a.json {
		return a.printLineJSON(l)
	}
	if p.name == "" {
		p.name = l.Name
	}
	if p.alone = p.alone && p.name == l.Name; p.alone { // a second one may have come up since
		_, err := a.out.Write([]byte(l.Text))
		return err
	}
	name := clean(l.Name)
	p.width = max(p.width, width(name))
	prefix := a.out.paint(nameStyle(l.Name), pad(name, p.width)+" │") + " "
	var b strings.Builder
	for line := range strings.Lines(l.Text) {
		b.WriteString(prefix)
		line = strings.TrimSuffix(line, "\n")
		b.WriteString(line)
		if a.out.tty && strings.Contains(line, "\x1b") {
			b.WriteString("\x1b[0m") // its colour isn't the next one's
		}
		b.WriteByte('\n')
	}
	_, err := a.out.Write([]byte(b.String()))
	return err
}

// awaitDaemon returns when a daemon answers again.
func (p *prefixer) awaitDaemon(ctx context.Context, c client) error {
	// One of the followers waits and says so, the others wait for that one.
	p.waited.Lock()
	defer p.waited.Unlock()
	a := p.a
	return awaitSocket(ctx, a.place().socket, func() bool {
		_, err := c.Daemon(ctx)
		return err == nil
	}, func() { fmt.Fprintln(a.err, a.err.paint(dim, "the daemon is gone; waiting for it to come back")) })
}

// nameStyle returns the colour of an instance's prefix: always the same for a
// name, and none of those that mean something elsewhere, as red does.
func nameStyle(name string) style {
	h := fnv.New32a()
	h.Write([]byte(name))
	palette := [...]style{"36", "35", "34", "32", "33", "96", "95", "94", "92", "93"}
	return palette[h.Sum32()%uint32(len(palette))]
}
