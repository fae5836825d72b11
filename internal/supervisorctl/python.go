package supervisorctl

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"tend/internal/xmlrpc"
)

// What of Python shows through in supervisorctl's output.

// exception is an error for which Python has a class of its own.
type exception struct{ class, text string }

func (e *exception) Error() string { return e.class + ": " + e.text }

func valueError(format string, args ...any) error {
	return &exception{"ValueError", fmt.Sprintf(format, args...)}
}

// What Python raises where an answer was asked for and there is none.
var (
	errEOF        = &exception{"EOFError", "EOF when reading a line"}
	errNoPassword = &exception{"EOFError", ""}
)

// unexpected is the error of an answer that isn't of the kind that supervisord
// gives.
func unexpected(method string, value any) error {
	return &exception{"TypeError", fmt.Sprintf("%s answered with a value of an unexpected kind: %.60v", method, value)}
}

// pythonError returns the line that supervisorctl shows for an error that it
// doesn't expect. The file and line are those of its source there; here they are
// always the same, since they mean nothing.
func pythonError(err error) string {
	class, text := classOf(err)
	return fmt.Sprintf("error: <class '%s'>, %s: file: supervisorctl line: 0", class, text)
}

// classOf returns the class of the Python exception for err, and its text.
func classOf(err error) (class, text string) {
	var (
		fault     *xmlrpc.Fault
		status    *xmlrpc.StatusError
		large     *xmlrpc.RangeError
		exception *exception
		lookup    *net.DNSError
		errno     syscall.Errno
	)
	switch {
	case errors.As(err, &fault):
		return "xmlrpc.client.Fault", faultText(fault)
	case errors.As(err, &status):
		// The address is what supervisorctl makes Python's client believe.
		return "xmlrpc.client.ProtocolError", fmt.Sprintf("<ProtocolError for 127.0.0.1/RPC2: %d %s>", status.Code, status.Reason)
	case errors.As(err, &large):
		return "OverflowError", "int exceeds XML-RPC limits"
	case errors.As(err, &exception):
		return exception.class, exception.text
	case errors.As(err, &lookup):
		if lookup.IsNotFound {
			return "socket.gaierror", "[Errno -2] Name or service not known"
		}
		return "socket.gaierror", "[Errno -3] Temporary failure in name resolution"
	case errors.As(err, &errno):
		text := errno.Error()
		return classOfErrno(errno), fmt.Sprintf("[Errno %d] %s%s", errno, strings.ToUpper(text[:1]), text[1:])
	case errors.Is(err, io.EOF):
		return "http.client.RemoteDisconnected", "Remote end closed connection without response"
	}
	return "Exception", err.Error()
}

// faultText returns a fault as Python prints it.
func faultText(f *xmlrpc.Fault) string {
	return fmt.Sprintf("<Fault %d: %s>", f.Code, repr(f.Text))
}

func classOfErrno(n syscall.Errno) string {
	switch n {
	case syscall.ENOENT:
		return "FileNotFoundError"
	case syscall.ECONNREFUSED:
		return "ConnectionRefusedError"
	case syscall.ECONNRESET:
		return "ConnectionResetError"
	case syscall.ECONNABORTED:
		return "ConnectionAbortedError"
	case syscall.EPIPE:
		return "BrokenPipeError"
	case syscall.EACCES, syscall.EPERM:
		return "PermissionError"
	case syscall.ETIMEDOUT:
		return "TimeoutError"
	case syscall.ENOTDIR:
		return "NotADirectoryError"
	}
	return "OSError"
}

// addressError returns the error of a server URL that can't be used.
func (s *session) addressError(err error) error {
	rest, isHTTP := strings.CutPrefix(s.serverURL, "http://")
	if !isHTTP {
		return valueError("Unknown protocol for serverurl %s", s.serverURL)
	}
	host, _, _ := strings.Cut(rest, "/")
	_, port, found := strings.Cut(host[strings.LastIndexByte(host, ']')+1:], ":")
	switch _, notNumber := strconv.Atoi(port); {
	case !found || port == "":
		return valueError("%v", err)
	case notNumber != nil:
		return valueError("Port could not be cast to integer value as %s", repr(port))
	}
	return valueError("Port out of range 0-65535")
}

// repr returns s as Python writes it in its source.
func repr(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b := []byte{quote}
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case unicode.IsPrint(r):
			b = append(b, string(r)...)
		case r <= 0xFF:
			b = fmt.Appendf(b, `\x%02x`, r)
		case r <= 0xFFFF:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = fmt.Appendf(b, `\U%08x`, r)
		}
	}
	return string(append(b, quote))
}

// toInt is Python's int(s) for text without blanks: a sign, and digits that may
// be grouped by single underscores. Numbers without bound don't exist here, so
// that what is too large becomes the largest.
func toInt(s string) (int, bool) {
	digits := strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	if len(s)-len(digits) > 1 || digits == "" || digits[0] == '_' || strings.HasSuffix(digits, "_") || strings.Contains(digits, "__") {
		return 0, false
	}
	digits = strings.ReplaceAll(digits, "_", "")
	if strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		n = math.MaxInt
	}
	if s[0] == '-' {
		n = -n
	}
	return n, true
}
