package api

// Levels of a [Finding] and of a [Guarantee].
const (
	LevelOK      = "ok"
	LevelWarning = "warning" // something holds less than it could
	LevelProblem = "problem" // tend can't work, or not as promised
)

// Finding is one thing that `tend doctor` has found out about the machine, the
// container or the user.
type Finding struct {
	ID     string `json:"id"`   // "kernel.pidfs": stable, for scripts
	Area   string `json:"area"` // "kernel", "cgroup", "descriptors", …
	Level  string `json:"level"`
	Title  string `json:"title"`            // in a few words
	Detail string `json:"detail,omitempty"` // what follows from it, why
	Hint   string `json:"hint,omitempty"`   // what to do about it
	// Value is what was measured: of a feature 1 or 0, there or not; of a room
	// the programs that fit; of a folder the free bytes.
	Value int64 `json:"value"`
}

// Names of the guarantees.
const (
	GuaranteeStop   = "stop"   // how a tree is stopped: "cgroup", "subreaper" or "group"
	GuaranteeCrash  = "crash"  // how a crash of tend is survived: "guard", "fdstore" or "identity"
	GuaranteeStatus = "status" // the status of what ends while no daemon lives: "guard", "kernel" or "unknown"
	GuaranteeOutput = "output" // the output while no daemon lives: "complete" or "tail"
	GuaranteeRoom   = "room"   // how many programs fit: a number
)

// Guarantee is what holds for programs, or would with `tend run`.
type Guarantee struct {
	ID     string `json:"id"`   // GuaranteeStop and the like
	Name   string `json:"name"` // "how a tree is stopped"
	Level  string `json:"level"`
	Answer string `json:"answer"` // a word: "cgroup"
	Text   string `json:"text"`   // what holds
	Why    string `json:"why,omitempty"`
	Hint   string `json:"hint,omitempty"` // what to do for more
}

// DoctorProgram is which guarantees an instance has: the answers of the
// guarantees of the same names.
type DoctorProgram struct {
	Name   string `json:"name"` // the instance, "queue:0"
	PID    int    `json:"pid"`
	Level  string `json:"level"`
	Stop   string `json:"stop"`
	Crash  string `json:"crash"`
	Status string `json:"status"`
	Output string `json:"output"` // also "direct": it goes past tend
	// Differs says where this one has less than the others, and why.
	Differs string `json:"differs,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// Doctor is what `tend doctor --json` prints.
type Doctor struct {
	Findings   []Finding       `json:"findings"`
	Guarantees []Guarantee     `json:"guarantees"`
	Programs   []DoctorProgram `json:"programs"` // those that run
}

// Worst returns the level of the worst that was found.
func (d *Doctor) Worst() string {
	worst := LevelOK
	see := func(level string) {
		if level == LevelProblem || level == LevelWarning && worst == LevelOK {
			worst = level
		}
	}
	for _, f := range d.Findings {
		see(f.Level)
	}
	for _, g := range d.Guarantees {
		see(g.Level)
	}
	for _, p := range d.Programs {
		see(p.Level)
	}
	return worst
}
