package svconf

import (
	"maps"
	"slices"
)

// Equal reports whether supervisord takes two groups for the same when it rereads
// its configuration: whether one can stand for the other without a restart. AUTO
// logs are equal to any log, since a running group has names for them.
func (g *Group) Equal(o *Group) bool {
	return g.Name == o.Name && g.Kind == o.Kind && g.Priority == o.Priority &&
		g.BufferSize == o.BufferSize && g.ResultHandler == o.ResultHandler && slices.Equal(g.Events, o.Events) &&
		g.Socket.equal(o.Socket) &&
		slices.EqualFunc(g.Processes, o.Processes, (*Process).Equal)
}

// equal reports whether two sockets have the same address; that is all that
// supervisord asks. Either may be nil.
func (s *Socket) equal(o *Socket) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.URL == o.URL
}

// Equal is [Group.Equal] for one process. What of a process follows from other
// options, as its arguments, or from its group, isn't compared.
func (p *Process) Equal(o *Process) bool {
	return p.Name == o.Name && p.Command == o.Command &&
		same(p.Directory, o.Directory) && same(p.Umask, o.Umask) && p.User.uid() == o.User.uid() &&
		p.Priority == o.Priority && p.AutoStart == o.AutoStart && p.AutoRestart == o.AutoRestart &&
		p.StartSecs == o.StartSecs && p.StartRetries == o.StartRetries && slices.Equal(p.ExitCodes, o.ExitCodes) &&
		p.StopSignal == o.StopSignal && p.StopWaitSecs == o.StopWaitSecs &&
		p.StopAsGroup == o.StopAsGroup && p.KillAsGroup == o.KillAsGroup && p.RedirectError == o.RedirectError &&
		p.Stdout.equal(o.Stdout) && p.Stderr.equal(o.Stderr) &&
		maps.Equal(p.Environment, o.Environment) && same(p.ServerURL, o.ServerURL)
}

func (c Channel) equal(o Channel) bool {
	if c.Log.Kind == LogAuto || o.Log.Kind == LogAuto {
		c.Log, o.Log = LogFile{}, LogFile{}
	}
	return c == o
}

// uid returns the number of a user, or -1 for nil.
func (a *Account) uid() int {
	if a == nil {
		return -1
	}
	return a.UID
}

// same compares what two pointers point at. Either may be nil.
func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// Diff compares the groups that run with those of a new configuration, as
// supervisord's reread does. Of groups with the same name, each of the new ones
// is compared with the last of the old.
func Diff(old, new []*Group) (added, changed, removed []*Group) {
	oldByName, newByName := byName(old), byName(new)
	for _, g := range new {
		switch o := oldByName[g.Name]; {
		case o == nil:
			added = append(added, g)
		case !g.Equal(o):
			changed = append(changed, g)
		}
	}
	for _, g := range old {
		if newByName[g.Name] == nil {
			removed = append(removed, g)
		}
	}
	return added, changed, removed
}

func byName(groups []*Group) map[string]*Group {
	m := make(map[string]*Group, len(groups))
	for _, g := range groups {
		m[g.Name] = g
	}
	return m
}
