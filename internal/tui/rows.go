package tui

import (
	"cmp"
	"slices"
	"strings"

	"tend/api"
	"tend/internal/words"
)

// An order is what the list is sorted by.
type order int

const (
	byFile order = iota // as configured
	byState
	byName
	byCPU
	byMemory
	byRestarts
	byUptime
	orders // how many there are
)

var orderNames = [orders]string{"as configured", "state, worst first", "name", "cpu", "memory", "restarts", "uptime, latest first"}

// crowd is how many instances make a program begin folded.
const crowd = 8

// A row is a line of the list: an instance, or a program with several.
type row struct {
	key     string // of the instance, or of the program
	group   bool
	child   bool // an instance below its program
	folded  bool
	members []*api.Instance // one, unless it is a group
}

// first returns the instance that stands for the row.
func (r row) first() *api.Instance { return r.members[0] }

// cpu and memory return the sums, and whether any is known.
func (r row) cpu() (sum float64, known bool) {
	for _, i := range r.members {
		if i.CPUPercent != nil {
			sum, known = sum+*i.CPUPercent, true
		}
	}
	return sum, known
}

func (r row) memory() (sum int64, known bool) {
	for _, i := range r.members {
		if i.MemoryBytes != nil {
			sum, known = sum+*i.MemoryBytes, true
		}
	}
	return sum, known
}

func (r row) restarts() (sum int) {
	for _, i := range r.members {
		sum += i.Restarts
	}
	return sum
}

// uptime returns that of the youngest that runs, in seconds; 0 where none does.
func (r row) uptime() (least float64) {
	for _, i := range r.members {
		if i.PID != 0 && (least == 0 || i.UptimeSeconds < least) {
			least = i.UptimeSeconds
		}
	}
	return least
}

// severity orders the words for states, what needs somebody first.
var severity = []string{api.Failed, "exited!", api.Backoff, "unhealthy", api.Stopping, api.Starting, api.Running, api.Waiting, api.Draining,
	"ready", api.Done, api.Exited, api.Stopped, "disabled"}

// rank returns the place of i in severity.
func rank(i *api.Instance) int {
	_, word, _ := words.State(*i)
	if i.State == api.Exited && !i.Up() {
		word = "exited!"
	}
	if n := slices.Index(severity, word); n >= 0 {
		return n
	}
	return len(severity)
}

// worst returns the member that needs somebody most.
func (r row) worst() *api.Instance {
	return slices.MinFunc(r.members, func(a, b *api.Instance) int { return cmp.Compare(rank(a), rank(b)) })
}

// rows returns the list as it is shown: sorted, filtered, folded. The instances
// below a program keep the order that they have.
func (m *model) buildRows() []row {
	asked := strings.Fields(strings.ToLower(m.filter.Value()))
	programs := make([]row, 0, len(m.list))
	at := make(map[string]int)
	total := make(map[string]int)
	for n := range m.list {
		i := &m.list[n]
		total[i.Program]++
		if !meets(asked, i) {
			continue
		}
		p, known := at[i.Program]
		if !known {
			p = len(programs)
			at[i.Program] = p
			programs = append(programs, row{key: i.Program})
		}
		programs[p].members = append(programs[p].members, i)
	}
	var key func(a, b row) int
	switch m.order {
	case byState:
		key = func(a, b row) int { return cmp.Compare(rank(a.worst()), rank(b.worst())) }
	case byName:
		key = func(a, b row) int { return strings.Compare(a.key, b.key) }
	case byCPU:
		key = func(a, b row) int { x, _ := a.cpu(); y, _ := b.cpu(); return cmp.Compare(y, x) }
	case byMemory:
		key = func(a, b row) int { x, _ := a.memory(); y, _ := b.memory(); return cmp.Compare(y, x) }
	case byRestarts:
		key = func(a, b row) int { return cmp.Compare(b.restarts(), a.restarts()) }
	case byUptime:
		key = func(a, b row) int {
			x, y := a.uptime(), b.uptime()
			if x == 0 || y == 0 { // what doesn't run comes last
				return cmp.Compare(y, x)
			}
			return cmp.Compare(x, y)
		}
	}
	if key != nil {
		slices.SortStableFunc(programs, key)
	}
	if m.reverse {
		slices.Reverse(programs)
	}
	rows := make([]row, 0, len(m.list))
	for _, p := range programs {
		if total[p.key] == 1 {
			p.key = p.first().Name
			rows = append(rows, p)
			continue
		}
		p.group = true
		folded, said := m.folded[p.key]
		// Who filters wants to see what is found.
		p.folded = folded || !said && total[p.key] > crowd && len(asked) == 0
		rows = append(rows, p)
		if p.folded {
			continue
		}
		for _, i := range p.members {
			rows = append(rows, row{key: i.Name, child: true, members: []*api.Instance{i}})
		}
	}
	return rows
}

// meets reports whether each of the words that are asked for is in the name of i
// or in the word for its state.
func meets(asked []string, i *api.Instance) bool {
	if len(asked) == 0 {
		return true
	}
	_, state, _ := words.State(*i)
	name := strings.ToLower(i.Name)
	for _, w := range asked {
		if !strings.Contains(name, w) && !strings.HasPrefix(state, w) && !words.Matches(w, *i) {
			return false
		}
	}
	return true
}
