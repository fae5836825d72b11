package svconf

import (
	"slices"
	"strings"
)

// This file holds the types of values: what texts each takes, and what
// supervisord says of others.

var (
	truthy = []string{"yes", "true", "on", "1"}
	falsy  = []string{"no", "false", "off", "0"}
)

func parseBool(s string) (bool, error) {
	switch low := lower(s); {
	case slices.Contains(truthy, low):
		return true, nil
	case slices.Contains(falsy, low):
		return false, nil
	}
	return false, bad("use true or false", "not a valid boolean value: %s", repr(s))
}

// Restart says when a process that ended by itself is started again.
type Restart string

const (
	Never      Restart = "false"
	Always     Restart = "true"
	Unexpected Restart = "unexpected" // if its exit status is none of its exitcodes, or a signal ended it
)

func parseRestart(s string) (Restart, error) {
	switch low := lower(s); {
	case slices.Contains(truthy, low):
		return Always, nil
	case slices.Contains(falsy, low):
		return Never, nil
	case low == "unexpected":
		return Unexpected, nil
	default:
		return "", bad("use true (always), false (never) or unexpected", "invalid 'autorestart' value %s", repr(low))
	}
}

// parseSize reads a number of bytes: with the unit KB, MB or GB of powers of 1024,
// or without one.
func parseSize(s string) (number, error) {
	low := lower(s)
	factor := 1
	for i, unit := range []string{"kb", "mb", "gb"} {
		if rest, ok := strings.CutSuffix(low, unit); ok {
			low, factor = rest, 1<<(10*(i+1))
			break
		}
	}
	n, err := parseInt(low, 10)
	if err != nil {
		p := err.(problem)
		p.hint = "write a whole number, with KB, MB or GB behind it if it isn't bytes"
		return n, p
	}
	return n.times(factor), nil
}

func parseOctal(s string) (number, error) {
	n, err := parseInt(s, 8)
	if err != nil {
		return n, bad("write it in octal digits, as 022", "%s can not be converted to an octal type", s)
	}
	return n, nil
}

// splitList splits at commas. Empty items stay, except that nothing is no item.
func splitList(s string) []string {
	if s == "" {
		return nil
	}
	list := strings.Split(s, ",")
	for i := range list {
		list[i] = strip(list[i])
	}
	return list
}

func parseExitCodes(s string) ([]int, error) {
	codes := []int{}
	if s == "" {
		return codes, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		n, err := parseInt(item, 10)
		if err != nil || n.int < 0 || n.int > 255 {
			return nil, bad("write numbers from 0 to 255 with commas between", "not a valid list of exit codes: %s", repr(s))
		}
		codes = append(codes, n.int)
	}
	return codes, nil
}

// parseName checks the name of a program, group or process.
func parseName(s string) (string, error) {
	name := strip(s)
	for _, c := range []string{" ", ":", "/"} {
		if strings.Contains(name, c) {
			return "", bad("names are part of group:process and of addresses in the web page, so they can't hold a blank, : or /", "Invalid name: %s because of character: %s", repr(s), repr(c))
		}
	}
	return name, nil
}

// levels are the names of log levels, the most severe first.
var levels = []string{"critical", "error", "warn", "info", "debug", "trace", "blather"}

func parseLevel(s string) (string, error) {
	if low := lower(s); slices.Contains(levels, low) {
		return low, nil
	}
	return "", bad("use one of "+strings.Join(levels, ", "), "bad logging level name %s", repr(s))
}

// parsePort reads the number of a port.
func parsePort(s string) (int, error) {
	n, err := parseInt(s, 10)
	if err != nil {
		return 0, err
	}
	return n.within(1, 65535)
}

// within refuses what isn't between the bounds.
func (n number) within(low, high int) (int, error) {
	switch {
	case n.int < low:
		return 0, bad("", "%s is below lower bound (%d)", n, low)
	case n.int > high:
		return 0, bad("", "%s is above upper bound (%d)", n, high)
	}
	return n.int, nil
}

// parseAddress reads port, host:port, *:port or :port. The host is "" for all
// addresses.
func parseAddress(s string) (host string, port int, err error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		port, err = parsePort(s)
		if err != nil {
			return "", 0, bad("write port, or host:port; ports go from 1 to 65535", "not a valid port number: %s ", repr(s))
		}
		return "", port, nil
	}
	host, digits := s[:i], s[i+1:]
	if digits == "" {
		return "", 0, bad("write host:port", "no port number specified in ''")
	}
	if port, err = parsePort(digits); err != nil {
		p := err.(problem)
		p.hint = "write host:port; ports go from 1 to 65535"
		return "", 0, p
	}
	if host = lower(host); host == "*" {
		host = ""
	}
	return host, port, nil
}

// events are the types that an event listener may ask for.
var events = []string{
	"EVENT",
	"PROCESS_COMMUNICATION", "PROCESS_COMMUNICATION_STDERR", "PROCESS_COMMUNICATION_STDOUT",
	"PROCESS_GROUP", "PROCESS_GROUP_ADDED", "PROCESS_GROUP_REMOVED",
	"PROCESS_LOG", "PROCESS_LOG_STDERR", "PROCESS_LOG_STDOUT",
	"PROCESS_STATE", "PROCESS_STATE_BACKOFF", "PROCESS_STATE_EXITED", "PROCESS_STATE_FATAL", "PROCESS_STATE_RUNNING",
	"PROCESS_STATE_STARTING", "PROCESS_STATE_STOPPED", "PROCESS_STATE_STOPPING", "PROCESS_STATE_UNKNOWN",
	"REMOTE_COMMUNICATION",
	"SUPERVISOR_STATE_CHANGE", "SUPERVISOR_STATE_CHANGE_RUNNING", "SUPERVISOR_STATE_CHANGE_STOPPING",
	"TICK", "TICK_3600", "TICK_5", "TICK_60",
}
