package daemon

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/spec"
	"tend/internal/watch"
)

// fileWatch is what is looked at for the programs' watch. It belongs to the loop.
type fileWatch struct {
	set     *spec.Set // that rules were made of
	rules   []watch.Rule
	watcher *watch.Watcher // nil: nothing is watched
	scans   queue          // looking through folders may take long
	closed  bool
}

// watchFiles brings what is watched in line with the wanted set.
func (d *Daemon) watchFiles() {
	set := d.engine.Set()
	if set == d.watched.set || d.watched.closed {
		return
	}
	d.watched.set = set
	var rules []watch.Rule
	var names []string
	for _, p := range set.Programs {
		if len(p.Watch) > 0 && p.Enabled {
			rules = append(rules, watch.Rule{Key: p.Name, Globs: p.Watch, Ignore: p.WatchIgnore, Delay: p.WatchDelay})
			names = append(names, p.Name)
		}
	}
	if reflect.DeepEqual(rules, d.watched.rules) {
		return
	}
	d.watched.rules = rules
	if d.watched.watcher == nil {
		w, err := watch.Open(d.onFiles, func(err error) { d.post(func() { d.warnf("%v", err) }) })
		if err != nil {
			d.warnf("%v; nothing is restarted for changed files", err)
			return
		}
		d.watched.watcher = w
	}
	w := d.watched.watcher
	d.watched.scans.put(func() {
		n := w.Set(rules)
		d.post(func() {
			if len(rules) > 0 {
				d.tell(event.Event{Kind: event.FilesWatched, Message: fmt.Sprintf("%s watched for %s", are(n, "folder"), strings.Join(names, ", "))})
			}
		})
	})
}

func are(n int, word string) string {
	if n == 1 {
		return "1 " + word + " is"
	}
	return plural(n, word) + " are"
}

// onFiles takes what the watcher tells into the loop.
func (d *Daemon) onFiles(c watch.Change) {
	d.post(func() {
		p := d.engine.Set().Program(c.Key)
		if p == nil || d.exit != nil {
			return
		}
		what := "files have changed"
		if c.Path != "" {
			name := c.Path
			if rel, err := filepath.Rel(p.Directory, c.Path); err == nil && !strings.HasPrefix(rel, "..") {
				name = rel
			}
			what = name + " has changed"
			if c.Count > 1 {
				what = fmt.Sprintf("%s and %s have changed", name, plural(c.Count-1, "other file"))
			}
		}
		d.step(engine.Renew{Program: c.Key, Why: what})
	})
}

func (d *Daemon) closeFiles() {
	d.watched.closed = true
	d.watched.scans.wait()
	if d.watched.watcher != nil {
		d.watched.watcher.Close()
	}
}
