// Package svconf reads a supervisord.conf exactly as supervisord 4.2.5 does: the
// dialect of its files, what is expanded where, what each option takes, what the
// groups and processes are in the end, and which files are refused, in
// supervisord's own words.
//
// It only reads. It doesn't know what a program, a group or a log is to the rest
// of tend, starts nothing, opens no log and no socket, and doesn't look for the
// file. Python objects that a file names, as for an rpcinterface, are names to
// it. All that it needs of the machine comes in by [Options], so that one set of
// them always gives one answer.
//
// Where Python would go on for ever, or until its memory ends, it has limits.
package svconf

// Options say what to read, and in which world.
type Options struct {
	Path    string   // the root file, as given with -c
	Dir     string   // the working directory, absolute
	Environ []string // NAME=value, as the daemon was started with
	Host    string   // of the machine: %(host_node_name)s
	UID     int      // whom the daemon runs as
	TempDir string   // where AUTO logs go; "": as Python finds it, by TMPDIR, TEMP and TMP, or else /tmp

	FS       FS       // nil: the machine's
	Accounts Accounts // nil: the machine's

	// Override are options of [supervisord] in place of those of the files, taken
	// literally: what the command line says.
	Override map[string]string

	// Earlier is the configuration that this one is read to replace. What its
	// [supervisord] environment= defined can still be used in expansions, as with
	// supervisord's reread. A reload begins anew, without it.
	Earlier *Config
}

// A Config is what supervisord understands of a file and what it includes.
type Config struct {
	Path     string // of the root, as it was given
	Here     string // its folder, absolute
	Daemon   Daemon
	Servers  []Server // those on TCP, then those on unix sockets, each in the order of the file
	RPC      []Plugin // the rpcinterface sections
	Groups   []*Group // by priority, then name
	Sections []*Section
	Default  *Section  // [DEFAULT], whose options are those of every section; nil without one
	Ignored  []Ignored // what supervisord takes no notice of

	Files    []string // what was read, absolute, the root first
	Patterns []string // what was included, absolute

	// ServerURL is where a process finds its supervisord, unless its own serverurl
	// says otherwise; "" without servers.
	ServerURL string

	byName  map[string]*Section
	defined []pair // by environment= of [supervisord], now and earlier
}

// Section returns the section of that name, or nil.
func (c *Config) Section(name string) *Section { return c.byName[name] }

// Source returns where an option of a section stands: in [DEFAULT], if that is
// where it comes from. It is zero if the option isn't given; with option "" it
// is where the section begins.
func (c *Config) Source(section, option string) Source {
	s := c.Section(section)
	if s == nil {
		return Source{}
	}
	if option == "" {
		return s.Source
	}
	if o, ok := s.Option(option); ok {
		return o.Source
	}
	if c.Default != nil {
		if o, ok := c.Default.Option(option); ok {
			return o.Source
		}
	}
	return Source{}
}

// Ignored is a section or an option that supervisord takes no notice of.
type Ignored struct {
	Section     string
	Option      string // "": the whole section
	Source      Source
	FromDefault bool // the option is one of [DEFAULT], and doesn't belong to this kind of section
}

// A Daemon is the section [supervisord].
type Daemon struct {
	NoDaemon    bool
	Silent      bool
	User        *Account // nil: none
	Umask       int
	Directory   *string // nil: none
	LogFile     string  // absolute, or "syslog"
	LogMaxBytes int     // 0: no rotation
	LogBackups  int
	LogLevel    string // critical, error, warn, info, debug, trace or blather
	PIDFile     string // absolute
	Identifier  string
	ChildLogDir string // of AUTO logs
	MinFDs      int
	MinProcs    int
	NoCleanup   bool
	StripANSI   bool
	Environment map[string]string // part of the environment of every process already
}

// An Account is a user that exists.
type Account struct {
	Name     string // as it is written, which may be a number
	UID, GID int
}

// An Owner is whom a socket is given to.
type Owner struct {
	Name     string // user or user:group, as it is written; "" if it follows from another option
	UID, GID int    // -1: unchanged
}

// A Server is a section [inet_http_server] or [unix_http_server].
type Server struct {
	Section  string
	Name     string  // behind the colon of the section's name, or ""
	Host     string  // on TCP; "": all addresses
	Port     int     // on TCP; 0: it is a unix socket
	File     string  // of a unix socket, absolute; "": it is on TCP
	Chmod    int     // of a unix socket
	Chown    *Owner  // of a unix socket; nil: the daemon's
	Username *string // nil: no authentication; neither with ""
	Password *string // clear, or {SHA} and the digits of its sum
}

// A Plugin is a section that names a Python object and options for it.
type Plugin struct {
	Name    string
	Section string
	Factory string // module:object
	Options map[string]string
}

// MainRPC is the factory of supervisord's own XML-RPC methods.
const MainRPC = "supervisor.rpcinterface:make_main_rpcinterface"

// DefaultResultHandler takes the answer of an event listener for an approval if
// it is exactly OK.
const DefaultResultHandler = "supervisor.dispatchers:default_handler"

// GroupKind says what a group is made of.
type GroupKind string

const (
	Programs  GroupKind = "group"         // of a [program:x], or a [group:x] of several
	Listeners GroupKind = "eventlistener" // a pool of an [eventlistener:x]
	FastCGI   GroupKind = "fcgi"          // of a [fcgi-program:x], with a socket in common
)

// A Group is what is added, removed and changed as a whole.
type Group struct {
	Name      string
	Kind      GroupKind
	Section   string // that it is made of
	Priority  int
	Processes []*Process // of each section by priority and name, in the order in which a [group:x] names them

	// Of listeners
	Events        []string // types, sorted; an abstract one stands for all below it
	BufferSize    int
	ResultHandler string

	Socket *Socket // of FastCGI
}

// A Socket is what the processes of a FastCGI group listen at.
type Socket struct {
	URL     string
	Host    string // of tcp://
	Port    int
	Path    string // of unix://
	Mode    int
	Owner   *Owner // nil: the daemon's
	Backlog *int   // nil: the largest that the system has
}

// A Process is one instance of a program, after all expansions.
type Process struct {
	Name    string
	Group   string
	Program string // the name of its section without the kind
	Section string
	Num     int // process_num

	Command   string
	Argv      []string // of Command; nil if it can't be parsed
	ArgvError string   // why

	Directory     *string // nil: the daemon's
	Umask         *int    // nil: the daemon's
	User          *Account
	Priority      int
	AutoStart     bool
	AutoRestart   Restart
	StartSecs     int
	StartRetries  int
	ExitCodes     []int // those that are expected
	StopSignal    Signal
	StopWaitSecs  int
	StopAsGroup   bool
	KillAsGroup   bool
	RedirectError bool
	Stdout        Channel
	Stderr        Channel
	Environment   map[string]string // with that of [supervisord]
	ServerURL     *string           // nil: that of the Config
}

// A Channel is what becomes of an output of a process.
type Channel struct {
	Log             LogFile
	MaxBytes        int // 0: no rotation
	Backups         int
	CaptureMaxBytes int // 0: no capturing
	Events          bool
	Syslog          bool
}

// LogKind tells a path from the words that stand for something else.
type LogKind string

const (
	LogAuto LogKind = "AUTO" // a name made up at start, see childlogdir
	LogNone LogKind = "NONE"
	LogPath LogKind = "path"
)

// A LogFile is the value of stdout_logfile or stderr_logfile.
type LogFile struct {
	Kind LogKind
	Path string // meant from the working directory; supervisord takes "" for no log
}
