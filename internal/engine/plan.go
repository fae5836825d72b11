package engine

import (
	"fmt"

	"tend/internal/spec"
)

// Action is what a plan does with a program.
type Action string

const (
	PlanStart   Action = "start"   // new, or newly enabled or started by itself
	PlanAdd     Action = "add"     // new, but not to be started
	PlanStop    Action = "stop"    // removed or disabled
	PlanDrain   Action = "drain"   // removed or disabled, left to end by itself
	PlanRemove  Action = "remove"  // removed while it was disabled
	PlanRestart Action = "restart" // changed in a way that needs it
	PlanLive    Action = "live"    // changed in place
)

// A Plan says what leads from one wanted world to another.
type Plan struct {
	Items     []Item
	Unchanged int  // programs that aren't touched
	Empties   bool // nothing would be left
}

// An Item is what a plan does with one program.
type Item struct {
	Program string
	Action  Action
	Summary string
	Changes []spec.Change
}

// Diff returns the plan that leads from old to new. Diff(a, a) has no items.
func Diff(old, new *spec.Set) Plan {
	var plan Plan
	before := make(map[string]*spec.Program, len(old.Programs))
	for _, p := range old.Programs {
		before[p.Name] = p
	}
	kept := make(map[string]bool, len(new.Programs))
	for _, p := range new.Programs {
		kept[p.Name] = true
		q := before[p.Name]
		if q == nil {
			item := Item{Program: p.Name, Action: PlanStart, Summary: spec.Show(p.Command.String())}
			if !p.Enabled || !p.Autostart {
				item.Action = PlanAdd
			}
			plan.Items = append(plan.Items, item)
			continue
		}
		changes := spec.Changes(q, p)
		if len(changes) == 0 {
			plan.Unchanged++
			continue
		}
		item := Item{Program: p.Name, Changes: changes}
		switch {
		case p.Enabled && p.Autostart && !(q.Enabled && q.Autostart):
			item.Action = PlanStart
		case !p.Enabled && q.Enabled:
			item.Action = retirement(p)
		case spec.NeedsRestart(changes) && p.Enabled:
			item.Action = PlanRestart
		default:
			item.Action = PlanLive
		}
		if more := p.Instances - q.Instances; more > 0 {
			item.Summary = fmt.Sprintf("%d more", more)
		} else if more < 0 {
			item.Summary = fmt.Sprintf("%d fewer", -more)
		}
		plan.Items = append(plan.Items, item)
	}
	for _, p := range old.Programs {
		if kept[p.Name] {
			continue
		}
		item := Item{Program: p.Name, Action: PlanRemove}
		if p.Enabled {
			item.Action = retirement(p)
		}
		plan.Items = append(plan.Items, item)
	}
	plan.Empties = len(new.Programs) == 0 && len(old.Programs) > 0
	return plan
}

func retirement(p *spec.Program) Action {
	if p.WhenDisabled == spec.DisabledDrain {
		return PlanDrain
	}
	return PlanStop
}
