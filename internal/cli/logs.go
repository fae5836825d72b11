package cli

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"tend/api"
)

func (a *app) logsCommand() *cobra.Command {
	var o api.LogOptions
	cmd := a.does(&cobra.Command{
		Use:     "logs [NAME…]",
		Short:   "show what programs print",
		GroupID: groupLook,
		Long: `Shows the last lines of programs, and with -f what they print from now on,
across rotations and restarts of the daemon. Several instances are merged with
the name in front; a single one is shown as it is.`,
		Example: `  tend logs mailer
  tend logs -f web queue
  tend logs -n 500 'queue:*'`,
		Args: func(_ *cobra.Command, _ []string) error {
			if o.Lines < 0 {
				return misused("-n takes a number of lines from 0 up, not %d", o.Lines)
			}
			return nil
		},
		ValidArgsFunction: a.completeNames,
	}, func(ctx context.Context, _ *cobra.Command, patterns []string) error {
		return a.logs(ctx, patterns, o)
	})
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on as programs print")
	cmd.Flags().IntVarP(&o.Lines, "lines", "n", 20, "`number` of lines of each instance")
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
		for _, pattern := range patterns { // in the order that was asked for
			if err := a.stream(ctx, c, pattern, o, p); err != nil {
				return err
			}
		}
		return nil
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
