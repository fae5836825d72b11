package supervisorctl

import (
	"maps"
	"slices"
	"strings"

	"tend/internal/xmlrpc"
)

// changes are what reloadConfig has found: names of groups.
type changes struct{ added, changed, removed []string }

func (s *session) reloadConfig() (changes, error) {
	value, err := s.call("reloadConfig")
	if err != nil {
		return changes{}, err
	}
	var lists [3][]string
	outer, _ := value.([]any)
	if len(outer) == 0 {
		return changes{}, unexpected("reloadConfig", value)
	}
	inner, _ := outer[0].([]any)
	if len(inner) != len(lists) {
		return changes{}, unexpected("reloadConfig", value)
	}
	for i, v := range inner {
		names, _ := v.([]any)
		for _, name := range names {
			text, ok := name.(string)
			if !ok {
				return changes{}, unexpected("reloadConfig", value)
			}
			lists[i] = append(lists[i], text)
		}
	}
	return changes{lists[0], lists[1], lists[2]}, nil
}

func (s *session) reread(arg string) error {
	if s.refuse("reread", arg) {
		return nil
	}
	c, err := s.reloadConfig()
	switch fault := asFault(err); {
	case fault != nil && fault.Code == xmlrpc.ShutdownState:
		s.fail("ERROR: supervisor shutting down")
		return nil
	case fault != nil && fault.Code == xmlrpc.CantReread:
		s.fail("ERROR: %s", fault.Text)
		return nil
	case err != nil:
		return err
	}
	what := make(map[string]string)
	for _, list := range []struct {
		names []string
		word  string
	}{{c.added, "available"}, {c.changed, "changed"}, {c.removed, "disappeared"}} {
		for _, name := range list.names {
			what[name] = list.word
		}
	}
	for _, name := range slices.Sorted(maps.Keys(what)) {
		s.say("%s: %s", name, what[name])
	}
	if len(what) == 0 {
		s.say("No config updates to processes")
	}
	return nil
}

// update makes the running groups those of the configuration. All of that is
// done from here, one call after the other.
func (s *session) update(arg string) error {
	c, err := s.reloadConfig()
	switch {
	case faultCode(err) == xmlrpc.ShutdownState:
		s.fail("ERROR: already shutting down")
		return nil
	case err != nil:
		return err
	}
	only := strings.Fields(arg)
	if slices.Contains(only, "all") {
		only = nil
	}
	if len(only) > 0 {
		all, err := s.processes()
		if err != nil {
			return err
		}
		for i, group := range only {
			known := slices.Contains(c.added, group) || slices.ContainsFunc(all, func(p process) bool { return p.group == group })
			if !known && !slices.Contains(only[:i], group) {
				s.fail("ERROR: no such group: %s", group)
			}
		}
	}
	chosen := func(list []string) []string {
		if len(only) == 0 {
			return list
		}
		return slices.DeleteFunc(list, func(group string) bool { return !slices.Contains(only, group) })
	}
	for _, group := range chosen(c.removed) {
		list, err := s.results("stopProcessGroup", group)
		if err != nil {
			return err
		}
		s.say("%s: stopped", group)
		if slices.ContainsFunc(list, func(r result) bool { return r.status == xmlrpc.Failed }) {
			s.fail("%s: has problems; not removing", group)
			continue
		}
		if _, err := s.call("removeProcessGroup", group); err != nil {
			return err
		}
		s.say("%s: removed process group", group)
	}
	for _, group := range chosen(c.changed) {
		if _, err := s.call("stopProcessGroup", group); err != nil {
			return err
		}
		s.say("%s: stopped", group)
		if _, err := s.call("removeProcessGroup", group); err != nil {
			return err
		}
		if _, err := s.call("addProcessGroup", group); err != nil {
			return err
		}
		s.say("%s: updated process group", group)
	}
	for _, group := range chosen(c.added) {
		if _, err := s.call("addProcessGroup", group); err != nil {
			return err
		}
		s.say("%s: added process group", group)
	}
	return nil
}

func (s *session) add(arg string) error {
	for _, group := range strings.Fields(arg) {
		_, err := s.call("addProcessGroup", group)
		switch code := faultCode(err); {
		case err == nil:
			s.say("%s: added process group", group)
		case code == xmlrpc.ShutdownState:
			s.fail("ERROR: shutting down")
		case code == xmlrpc.AlreadyAdded:
			s.say("ERROR: process group already active")
		case code == xmlrpc.BadName:
			s.fail("ERROR: no such process/group: %s", group)
		default:
			return err
		}
	}
	return nil
}

func (s *session) remove(arg string) error {
	for _, group := range strings.Fields(arg) {
		_, err := s.call("removeProcessGroup", group)
		switch code := faultCode(err); {
		case err == nil:
			s.say("%s: removed process group", group)
		case code == xmlrpc.StillRunning:
			s.fail("ERROR: process/group still running: %s", group)
		case code == xmlrpc.BadName:
			s.fail("ERROR: no such process/group: %s", group)
		default:
			return err
		}
	}
	return nil
}

// available is what avail shows of getAllConfigInfo.
type available struct {
	name
	inUse, autostart        bool
	groupPriority, priority int
}

func (s *session) avail(arg string) error {
	if s.refuse("avail", arg) {
		return nil
	}
	value, err := s.call("getAllConfigInfo")
	switch {
	case faultCode(err) == xmlrpc.ShutdownState:
		s.fail("ERROR: supervisor shutting down")
		return nil
	case err != nil:
		return err
	}
	list, err := listOf("getAllConfigInfo", value, func(m *members) available {
		return available{readName(m), member[bool](m, "inuse"), member[bool](m, "autostart"), member[int](m, "group_prio"), member[int](m, "process_prio")}
	})
	if err != nil {
		return err
	}
	word := func(is bool, yes, no string) string {
		if is {
			return yes
		}
		return no
	}
	for _, a := range list {
		s.say("%-32s %-9s %-9s %d:%d", a.String(), word(a.inUse, "in use", "avail"), word(a.autostart, "auto", "manual"), a.groupPriority, a.priority)
	}
	return nil
}
