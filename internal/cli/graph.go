package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tend/api"
)

func (a *app) graphCommand() *cobra.Command {
	var config string
	var dot bool
	cmd := a.does(&cobra.Command{
		Use:     "graph",
		Short:   "draw which programs come after which",
		GroupID: groupLook,
		Long: `Draws the programs in the order in which they start, from the left: below each
one stand those that come after it, or require it. One that comes after several
is drawn below the last of them to start, and named below the others. Without a
daemon, or with -c, the files are drawn.`,
		Example: `  tend graph
  tend graph --dot | dot -Tsvg > graph.svg`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(ctx context.Context, cmd *cobra.Command, _ []string) error {
		g, err := a.graph(ctx, config, cmd.Flags().Changed("config"))
		if err != nil {
			return err
		}
		switch {
		case a.json:
			return a.printJSON(g)
		case dot:
			_, err = a.out.Write([]byte(g.dot()))
		case len(g) == 0:
			a.note("no program is configured")
		default:
			err = g.table().write(a.out)
		}
		return err
	})
	cmd.Flags().StringVarP(&config, "config", "c", "", "draw the files at this `path`")
	cmd.Flags().BoolVar(&dot, "dot", false, "print it for graphviz")
	a.jsonFlag(cmd)
	return cmd
}

// graph is the programs in the order of their files.
type graph []*node

// A node is one program. States are those of its instances, none without a daemon.
type node struct {
	Program  string   `json:"program"`
	After    []string `json:"after"`
	Requires []string `json:"requires"`
	States   []string `json:"states,omitempty"`

	instances []api.Instance
	next      []*node // those that come after it
	level     int     // the longest way to it
}

// graph returns the programs of the daemon, or of the files where none answers.
func (a *app) graph(ctx context.Context, config string, files bool) (graph, error) {
	var g graph
	byName := make(map[string]*node)
	add := func(name string, after, requires []string) *node {
		n := byName[name]
		if n == nil {
			n = &node{Program: name, After: append([]string{}, after...), Requires: append([]string{}, requires...)}
			byName[name] = n
			g = append(g, n)
		}
		return n
	}
	var list []api.Instance
	err := error(api.ErrNoDaemon)
	if !files {
		list, err = a.connect().Instances(ctx)
	}
	switch {
	case err == nil:
		for _, i := range list {
			n := add(i.Program, i.After, i.Requires)
			_, word, _ := stateWord(i)
			n.States, n.instances = append(n.States, word), append(n.instances, i)
		}
	case !errors.Is(err, api.ErrNoDaemon):
		return nil, err
	case a.deps.Check == nil:
		return nil, failed("graph can't read files here")
	default:
		c, err := a.deps.Check(config)
		if err != nil {
			return nil, err
		}
		if a.diagnose(c.Diagnostics) > 0 || !c.OK {
			return nil, exits(exitFailed)
		}
		for _, p := range c.Programs {
			name, _ := p["program"].(string)
			after, _ := p["after"].([]string)
			requires, _ := p["requires"].([]string)
			add(name, after, requires)
		}
	}
	for _, n := range g {
		for _, dep := range n.deps() {
			if m := byName[dep]; m != nil { // it may have been removed
				m.next = append(m.next, n)
			}
		}
	}
	var deepen func(n *node, level int)
	deepen = func(n *node, level int) {
		if level < n.level || level > len(g) { // a daemon knows no cycles; should one say otherwise, this ends
			return
		}
		n.level = level
		for _, m := range n.next {
			deepen(m, level+1)
		}
	}
	for _, n := range g {
		deepen(n, n.level)
	}
	return g, nil
}

// deps returns what n comes after, each once.
func (n *node) deps() []string {
	deps := slices.Clone(n.Requires)
	for _, dep := range n.After {
		if !slices.Contains(deps, dep) {
			deps = append(deps, dep)
		}
	}
	return deps
}

// edge says in a word how m hangs on n.
func (n *node) edge(m *node) string {
	if slices.Contains(m.Requires, n.Program) {
		return "requires"
	}
	return "after"
}

// state returns how n is, in words, and what there is to say of it.
func (n *node) state() (words, why string, st style) {
	type kind struct {
		symbol, word string
		style        style
	}
	var kinds []kind
	counts := make(map[kind]int)
	for _, i := range n.instances {
		symbol, word, style := stateWord(i)
		k := kind{symbol, word, style}
		if counts[k]++; counts[k] == 1 {
			kinds = append(kinds, k)
		}
		if why == "" && !i.Up() {
			why = clean(i.Message)
			st = style
		}
	}
	parts := make([]string, len(kinds))
	for i, k := range kinds {
		parts[i] = k.symbol + " " + k.word
		if len(kinds) > 1 {
			parts[i] = fmt.Sprintf("%s %d %s", k.symbol, counts[k], k.word)
		}
	}
	if st == plain && len(kinds) > 0 {
		st = kinds[0].style
	}
	return strings.Join(parts, ", "), why, st
}

// table returns the drawing.
func (g graph) table() *table {
	t := &table{columns: []column{{title: "PROGRAM"}, {title: "STATE"}, {title: "EDGE", drop: 1}, {title: "WHY"}}}
	stateless := !slices.ContainsFunc(g, func(n *node) bool { return len(n.instances) > 0 })
	if stateless {
		t.columns = []column{t.columns[0], t.columns[2]}
	}
	row := func(drawn, edge, words, why string, st style) {
		cells := []cell{{text: drawn}, {words, st}, {text: edge}, {text: why}}
		if stateless {
			cells = []cell{cells[0], cells[2]}
		}
		t.rows = append(t.rows, cells)
	}
	drawn := make(map[*node]bool)
	var draw func(n *node, first, rest, edge string)
	draw = func(n *node, first, rest, edge string) {
		drawn[n] = true
		name := clean(n.Program)
		if len(n.instances) > 1 {
			name += fmt.Sprintf(" ×%d", len(n.instances))
		}
		words, why, st := n.state()
		row(first+name, edge, words, why, st)
		for i, m := range n.next {
			branch, below := "├─ ", "│  "
			if i == len(n.next)-1 {
				branch, below = "└─ ", "   "
			}
			if m.level == n.level+1 && !drawn[m] {
				draw(m, rest+branch, rest+below, n.edge(m))
			} else {
				row(rest+branch+clean(m.Program)+" …", n.edge(m), "", "", plain)
			}
		}
	}
	for _, n := range g {
		if n.level == 0 {
			draw(n, "", "", "")
		}
	}
	return t
}

// dotColors are those of states, for graphviz.
var dotColors = map[style]string{green: "darkgreen", yellow: "goldenrod", red: "red", cyan: "darkcyan", dim: "gray"}

// dot returns the graph in the language of graphviz.
func (g graph) dot() string {
	var b strings.Builder
	b.WriteString("digraph tend {\n\trankdir=LR;\n\tnode [shape=box, style=rounded];\n")
	for _, n := range g {
		label := clean(n.Program)
		words, _, st := n.state()
		if words != "" {
			label += "\n" + words
		}
		fmt.Fprintf(&b, "\t%s [label=%s", quote(n.Program), quote(label))
		if color := dotColors[st]; color != "" && words != "" {
			fmt.Fprintf(&b, ", color=%s", color)
		}
		b.WriteString("];\n")
	}
	for _, n := range g {
		for _, m := range n.next {
			style := "dashed"
			if n.edge(m) == "requires" {
				style = "solid"
			}
			fmt.Fprintf(&b, "\t%s -> %s [style=%s];\n", quote(n.Program), quote(m.Program), style)
		}
	}
	b.WriteString("}\n")
	return b.String()
}
