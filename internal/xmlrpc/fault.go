package xmlrpc

import "strconv"

// A Fault is the answer to a call that failed.
type Fault struct {
	Code int
	Text string
}

// The faults of supervisord. Success isn't one: it stands beside them in lists
// with a status for each process.
const (
	UnknownMethod        = 1
	IncorrectParameters  = 2
	BadArguments         = 3
	SignatureUnsupported = 4
	ShutdownState        = 6
	BadName              = 10
	BadSignal            = 11
	NoFile               = 20
	NotExecutable        = 21
	Failed               = 30
	AbnormalTermination  = 40
	SpawnError           = 50
	AlreadyStarted       = 60
	NotRunning           = 70
	Success              = 80
	AlreadyAdded         = 90
	StillRunning         = 91
	CantReread           = 92
)

// faultNames are the names by which the texts of faults begin.
var faultNames = map[int]string{
	UnknownMethod:        "UNKNOWN_METHOD",
	IncorrectParameters:  "INCORRECT_PARAMETERS",
	BadArguments:         "BAD_ARGUMENTS",
	SignatureUnsupported: "SIGNATURE_UNSUPPORTED",
	ShutdownState:        "SHUTDOWN_STATE",
	BadName:              "BAD_NAME",
	BadSignal:            "BAD_SIGNAL",
	NoFile:               "NO_FILE",
	NotExecutable:        "NOT_EXECUTABLE",
	Failed:               "FAILED",
	AbnormalTermination:  "ABNORMAL_TERMINATION",
	SpawnError:           "SPAWN_ERROR",
	AlreadyStarted:       "ALREADY_STARTED",
	NotRunning:           "NOT_RUNNING",
	Success:              "SUCCESS",
	AlreadyAdded:         "ALREADY_ADDED",
	StillRunning:         "STILL_RUNNING",
	CantReread:           "CANT_REREAD",
}

// NewFault returns the fault of that code with the text that supervisord gives
// it: the name alone, or "NAME: detail".
func NewFault(code int, detail string) *Fault {
	name, known := faultNames[code]
	if !known {
		name = "UNKNOWN"
	}
	if detail != "" {
		name += ": " + detail
	}
	return &Fault{Code: code, Text: name}
}

func (f *Fault) Error() string {
	return "fault " + strconv.Itoa(f.Code) + ": " + f.Text
}
