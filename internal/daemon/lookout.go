package daemon

import (
	"math/rand/v2"
	"time"

	"tend/internal/cron"
	"tend/internal/engine"
	"tend/internal/spec"
	"tend/internal/unit"
)

// outside is what units know of the world.
var outside = unit.Outside{Chance: rand.Float64, Next: nextRun}

// nextRun returns when a program with a schedule runs next, after a time.
func nextRun(p *spec.Program, after time.Time) time.Time {
	s, err := cron.Parse(p.Schedule, p.Timezone)
	if err != nil {
		return time.Time{} // the loader has refused it
	}
	return s.Next(after)
}

// lookFor looks from now on for what f says, at an instance.
func (d *Daemon) lookFor(f engine.Watch) {
	d.lookForDemand(f)
	d.lookForIdleness(f)
	d.probe(f)
}
