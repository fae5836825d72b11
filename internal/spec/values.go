package spec

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Signal is a signal's number on Linux.
type Signal int

// SIGTERM is the default of stop_signal, SIGABRT what a watchdog sends.
const (
	SIGABRT Signal = 6
	SIGTERM Signal = 15
)

// signalNames is signal(7), the numbers of x86 and ARM.
var signalNames = []string{1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL",
	10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT", 17: "CHLD", 18: "CONT", 19: "STOP",
	20: "TSTP", 21: "TTIN", 22: "TTOU", 23: "URG", 24: "XCPU", 25: "XFSZ", 26: "VTALRM", 27: "PROF", 28: "WINCH", 29: "IO",
	30: "PWR", 31: "SYS"}

// maxSignal is SIGRTMAX.
const maxSignal = 64

// String returns the name without "SIG", or the number of a real-time signal.
func (s Signal) String() string {
	if s > 0 && int(s) < len(signalNames) {
		return signalNames[s]
	}
	return strconv.Itoa(int(s))
}

// ParseSignal understands a name with or without "SIG", in any case, or a
// number from 1 to 64.
func ParseSignal(s string) (Signal, error) { return toSignal(s) }

func toSignal(v any) (Signal, error) {
	const hint = "use a name as TERM, or a number from 1 to 64"
	if n, ok := v.(int64); ok {
		if n < 1 || n > maxSignal {
			return 0, notA(v, "a signal", hint)
		}
		return Signal(n), nil
	}
	s, ok := v.(string)
	if !ok {
		return 0, notA(v, "a signal", hint)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return toSignal(n)
	}
	name := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(s)), "SIG")
	for n, known := range signalNames {
		if known != "" && known == name {
			return Signal(n), nil
		}
	}
	switch name { // second names of signal(7)
	case "CLD":
		return 17, nil
	case "POLL":
		return 29, nil
	case "IOT":
		return 6, nil
	}
	if better := didYouMean(name, signalNames[1:]); better != "" {
		return 0, notA(v, "a signal", better)
	}
	return 0, notA(v, "a signal", hint)
}

// LimitNames are the names of [Limits], those of setrlimit(2) in lower case.
var LimitNames = []string{"as", "core", "cpu_seconds", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}

// String returns the notation that configuration files use.
func (l Limit) String() string {
	one := func(n uint64) string {
		if n == Unlimited {
			return "unlimited"
		}
		return strconv.FormatUint(n, 10)
	}
	if l.Soft == l.Hard {
		return one(l.Soft)
	}
	return one(l.Soft) + ":" + one(l.Hard)
}

func toLimit(v any) (Limit, error) {
	one := func(s string) (uint64, error) {
		s = strings.TrimSpace(s)
		if s == "unlimited" || s == "infinity" {
			return Unlimited, nil
		}
		if n, err := strconv.ParseUint(s, 10, 63); err == nil {
			return n, nil
		}
		if n, err := toSize(s); err == nil {
			return uint64(n), nil
		}
		return 0, notA(s, "a limit", `use a number, a size as "64MB", "unlimited", or "soft:hard"`)
	}
	switch v := v.(type) {
	case int64:
		if v < 0 {
			return Limit{}, notA(v, "a limit", `use "unlimited" for no limit`)
		}
		return Limit{uint64(v), uint64(v)}, nil
	case string:
		softText, hardText, pair := strings.Cut(v, ":")
		soft, err := one(softText)
		if err != nil {
			return Limit{}, err
		}
		hard := soft
		if pair {
			if hard, err = one(hardText); err != nil {
				return Limit{}, err
			}
		}
		if soft > hard {
			return Limit{}, &ValueError{Message: fmt.Sprintf("the soft limit of %q is above the hard one", v), Hint: "write it as soft:hard"}
		}
		return Limit{soft, hard}, nil
	}
	return Limit{}, notA(v, "a limit", "")
}

// toBool follows PHP's parse_ini_file for strings, which is what the original
// daemon's files are read with.
func toBool(v any) (value, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case int64:
		return v == 1, v == 0 || v == 1
	case string:
		switch strings.ToLower(v) {
		case "1", "on", "yes", "true":
			return true, true
		case "", "0", "off", "no", "false", "none", "null":
			return false, true
		}
	}
	return false, false
}

func toString(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	}
	return "", false
}

// toList understands a list, or a string of words parted by commas.
func toList(v any) ([]any, error) {
	switch v := v.(type) {
	case []any:
		return v, nil
	case string:
		var list []any
		for word := range strings.SplitSeq(v, ",") {
			if word = strings.TrimSpace(word); word != "" {
				list = append(list, word)
			}
		}
		return list, nil
	case int64:
		return []any{v}, nil
	}
	return nil, notA(v, "a list", "")
}

func toStrings(v any) ([]string, error) {
	words, err := toList(v)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, w := range words {
		s, ok := w.(string)
		if !ok {
			return nil, notA(w, "a string", "every entry of the list must be one")
		}
		list = append(list, s)
	}
	return list, nil
}

func setCommand(c *Command, v any) error {
	switch v := v.(type) {
	case string:
		if strings.TrimSpace(v) == "" {
			return &ValueError{Message: "the command is empty", Hint: "say what to run"}
		}
		*c = Command{Shell: v}
		return nil
	case []any:
		argv, err := toStrings(v)
		if err != nil {
			return err
		}
		if len(argv) == 0 || argv[0] == "" {
			return &ValueError{Message: "the command is empty", Hint: `say what to run, as ["php", "worker.php"]`}
		}
		*c = Command{Argv: argv}
		return nil
	}
	return notA(v, "a command", "use a string for the shell, or a list of strings")
}

const durationHint = `use a number with a unit, as "10s" or "1m30s"`

// toDuration understands "1m30s", "500ms", "2d", and 0. Other plain numbers are
// refused: nobody can tell whether they are seconds or milliseconds.
func toDuration(v any) (time.Duration, error) {
	if v == int64(0) {
		return 0, nil
	}
	s, ok := v.(string)
	if !ok {
		return 0, notA(v, "a duration", durationHint)
	}
	const longest = 36500 * 24 * time.Hour
	text := strings.TrimSpace(s)
	var days time.Duration
	if number, rest, found := strings.Cut(text, "d"); found {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n > uint64(longest/(24*time.Hour)) {
			return 0, notA(v, "a duration", durationHint)
		}
		if days, text = time.Duration(n)*24*time.Hour, rest; text == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > longest-days {
		return 0, notA(v, "a duration", durationHint)
	}
	return days + d, nil
}

// FormatDuration is the inverse of the notation in files: 1m30s, 0s, 2d.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

var sizeUnits = []struct {
	suffix string
	factor int64
}{ // the longest first: "KiB" ends in "B" as well
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"k", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"B", 1},
}

// toSize understands a number of bytes, "50MB", "1.5GiB", "64k".
func toSize(v any) (int64, error) {
	const hint = `use a number with a unit, as "50MB" or "64KiB"`
	switch v := v.(type) {
	case int64:
		if v >= 0 {
			return v, nil
		}
	case string:
		text, factor := strings.TrimSpace(v), int64(1)
		for _, u := range sizeUnits {
			if number, ok := strings.CutSuffix(text, u.suffix); ok {
				text, factor = strings.TrimSpace(number), u.factor
				break
			}
		}
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 && n <= math.MaxInt64/factor {
			return n * factor, nil // exact, which a float isn't
		}
		n, err := strconv.ParseFloat(text, 64)
		if n *= float64(factor); err == nil && n >= 0 && n < 1<<62 {
			return int64(n), nil
		}
	}
	return 0, notA(v, "a size", hint)
}

// FormatSize is the inverse of the notation in files, exact: 50MB, 64KiB, 1001B.
func FormatSize(n int64) string {
	for _, u := range []struct {
		suffix string
		factor int64
	}{{"GB", 1e9}, {"GiB", 1 << 30}, {"MB", 1e6}, {"MiB", 1 << 20}, {"KB", 1e3}, {"KiB", 1 << 10}} {
		if n >= u.factor && n%u.factor == 0 {
			return strconv.FormatInt(n/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// Nearest returns the candidate that s was most likely meant to be, or "".
func Nearest(s string, candidates []string) string {
	best, bestDistance := "", min(3, (len(s)+2)/3+1)
	for _, c := range candidates {
		if c == "" {
			continue
		}
		if d := distance(strings.ToLower(s), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

func didYouMean(s string, candidates []string) string {
	if better := Nearest(s, candidates); better != "" {
		return fmt.Sprintf("did you mean %q?", better)
	}
	return ""
}

// distance counts the insertions, deletions, changes and swaps of neighbours
// between a and b (optimal string alignment).
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, now := rows[0], rows[1], rows[2]
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		rows = [3][]int{last, now, before}
	}
	return rows[1][len(b)]
}
