package svconf

import "strings"

// Ctl is the section [supervisorctl], as supervisorctl reads it for itself.
type Ctl struct {
	ServerURL   string // http://host:port or unix://path, the path absolute
	Username    *string
	Password    *string
	Prompt      string
	HistoryFile *string  // absolute; nil: none
	Plugins     []Plugin // the ctlplugin sections
}

// LoadCtl reads the root file as supervisorctl does, which doesn't look into
// included ones and needs only its own section. The Ctl is nil if supervisorctl
// would refuse the file.
func LoadCtl(opts Options) (*Ctl, []Diagnostic) {
	l := newLoad(opts)
	if !l.readRoot() {
		return nil, l.diagnostics
	}
	s := l.file.byName["supervisorctl"]
	if s == nil {
		l.say(Diagnostic{File: opts.Path, Message: ".ini file does not include supervisorctl section", Hint: "add [supervisorctl] with serverurl to the root file: supervisorctl doesn't read included ones"})
		return nil, l.diagnostics
	}
	// The folder of the file is found with ~ replaced, unlike the daemon's.
	here := newNames()
	here.text("here", dirname(l.normal(opts.Path)))
	plain, withHere := newNames(), here
	c := &Ctl{}
	r := l.reader(s, withHere)
	c.ServerURL = r.textOr("serverurl", "http://localhost:9001")
	if path, ok := strings.CutPrefix(c.ServerURL, "unix://"); ok {
		c.ServerURL = "unix://" + l.normal(path)
	}
	r.names = plain
	c.Prompt = r.textOr("prompt", "supervisor")
	c.Username = r.optional("username")
	c.Password = r.optional("password")
	r.names = withHere
	if file, _ := r.text("history_file"); file != "" {
		file = l.normal(file)
		c.HistoryFile = &file
	}
	if r.err != nil {
		l.sayProblem(s, r.option, r.err, "")
		return nil, l.diagnostics
	}
	before := len(l.diagnostics)
	c.Plugins = l.plugins("ctlplugin:", "supervisor.ctl_factory")
	for _, d := range l.diagnostics[before:] {
		if d.Severity == Error {
			return nil, l.diagnostics
		}
	}
	return c, l.diagnostics
}
