package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"tend/api"
)

// grown is a graph with a diamond, instances, and a program that is down.
func grown() []api.Instance {
	up := func(name, program string, after, requires []string) api.Instance {
		return api.Instance{Name: name, Program: program, State: api.Running, Ready: true, Enabled: true, Wanted: true, After: after, Requires: requires}
	}
	list := []api.Instance{
		up("db", "db", nil, nil),
		up("web:0", "web", []string{"cache", "migrate"}, []string{"db"}),
		up("web:1", "web", []string{"cache", "migrate"}, []string{"db"}),
		up("cache", "cache", []string{"db"}, nil),
		up("migrate", "migrate", nil, []string{"db", "cache"}),
		up("cron", "cron", []string{"gone"}, nil),
	}
	list[2].State, list[2].Ready, list[2].Message = api.Waiting, false, "waits for migrate (failed: exit 1 after 0.1 s)"
	list[4].State, list[4].Ready, list[4].Message = api.Failed, false, "exit 1 after 0.1 s"
	return list
}

func TestGraph(t *testing.T) {
	for _, test := range []struct {
		name    string
		columns int
		color   bool
		args    []string
	}{
		{"graph-80", 80, false, nil},
		{"graph-color", 100, true, nil},
		{"graph-pipe", pipe, false, nil},
		{"graph-dot", pipe, false, []string{"--dot"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCall(t, &world{list: has(grown())}, test.columns, test.color)
			if got := c.run(append([]string{"graph"}, test.args...)...); got != 0 {
				t.Errorf("exit status %d: %s", got, c.err.String())
			}
			golden(t, test.name, c.out.String())
		})
	}
	c := newCall(t, &world{list: has(grown())}, pipe, false)
	c.run("graph", "--json")
	var nodes []node
	if err := json.Unmarshal([]byte(c.out.String()), &nodes); err != nil || len(nodes) != 5 || len(nodes[1].States) != 2 || nodes[1].Requires[0] != "db" || nodes[0].After == nil {
		t.Errorf("%+v, %v", nodes, err)
	}
}

// TestGraphOfFiles: where no daemon answers, or with -c, the files are drawn.
func TestGraphOfFiles(t *testing.T) {
	check := &api.Check{OK: true, Programs: []map[string]any{
		{"program": "web", "after": []string{"db"}, "requires": []string{}},
		{"program": "web", "after": []string{"db"}, "requires": []string{}},
		{"program": "db", "after": []string{}, "requires": []string{}},
	}}
	for _, test := range []struct {
		world *world
		args  []string
	}{{&world{}, []string{"graph"}}, {&world{list: has(grown())}, []string{"graph", "-c", "x.toml"}}} {
		c := newCall(t, test.world, pipe, false)
		c.app.deps.Check = func(path string) (*api.Check, error) {
			if want := strings.Join(test.args[1:], ""); "-c"+path != want && path != want {
				t.Errorf("reads %q", path)
			}
			return check, nil
		}
		if got := c.run(test.args...); got != 0 || c.out.String() != "PROGRAM  EDGE\ndb\n└─ web   after\n" {
			t.Errorf("%v: exit status %d: %s%s", test.args, got, c.out.String(), c.err.String())
		}
	}
}
