package supervisord

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"

	"tend/internal/xmlrpc"
)

// maxLogRead is how much of logs one request can read. It is more than a log has
// by default before it is rotated.
const maxLogRead = 60 << 20

// integer reads a parameter as Python's int does.
func integer(v any) (int, error) {
	switch v := v.(type) {
	case int:
		return v, nil
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	case float64:
		if math.Abs(v) > math.MaxInt32 { // NaN isn't read by xmlrpc
			return 0, errType
		}
		return int(v), nil
	case string:
		if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil {
			return n, nil
		}
		return 0, errType
	}
	return 0, xmlrpc.NewFault(xmlrpc.IncorrectParameters, "")
}

// twoIntegers reads an offset and a length.
func twoIntegers(args []any) (offset, length int, err error) {
	if offset, err = integer(args[0]); err == nil {
		length, err = integer(args[1])
	}
	return offset, length, err
}

// open opens a log for reading, and returns its size. Whoever has a name of a
// log could have put a named pipe there, which must not hold anybody up.
func openLog(path string) (*os.File, int64, error) {
	if path == "" {
		return nil, 0, fs.ErrNotExist
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// readPart reads a part of a log by the rules of read*Log: from an offset on, or
// with one below 0 the end, that many bytes.
func (c *rpc) readPart(path string, offset, length int) (any, error) {
	f, size, err := openLog(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, xmlrpc.NewFault(xmlrpc.NoFile, path)
	}
	if err != nil {
		return nil, xmlrpc.NewFault(xmlrpc.Failed, "")
	}
	defer f.Close()
	if offset < 0 && length != 0 || length < 0 {
		return nil, xmlrpc.NewFault(xmlrpc.BadArguments, "")
	}
	from, n := int64(offset), int64(length)
	if from < 0 {
		from = max(size+from, 0)
	}
	if n == 0 || n > size-from {
		n = max(size-from, 0)
	}
	return c.readBytes(f, from, n)
}

// readBytes reads n bytes, or what there is of them.
func (c *rpc) readBytes(f io.ReaderAt, from, n int64) (any, error) {
	if n > int64(c.budget) {
		return nil, xmlrpc.NewFault(xmlrpc.Failed, fmt.Sprintf("the log has %d bytes there, more than %d at once: ask for a part of them", n, c.budget))
	}
	if n > smallBody {
		if err := c.hold(); err != nil {
			return nil, err
		}
	}
	c.budget -= int(n)
	b := make([]byte, n)
	got, err := f.ReadAt(b, from)
	if err != nil && err != io.EOF {
		return nil, xmlrpc.NewFault(xmlrpc.Failed, "")
	}
	return string(b[:got]), nil
}

func (c *rpc) readLog(args []any) (any, error) {
	offset, length, err := twoIntegers(args)
	if err != nil {
		return nil, err
	}
	return c.readPart(c.daemon.Info().Log, offset, length)
}

func (c *rpc) readStdout(args []any) (any, error) {
	return c.readOf(args, func(p Process) string { return p.Stdout })
}

func (c *rpc) readStderr(args []any) (any, error) {
	return c.readOf(args, func(p Process) string { return p.Stderr })
}

func (c *rpc) readOf(args []any, file func(Process) string) (any, error) {
	p, err := c.one(args[0])
	if err != nil {
		return nil, err
	}
	offset, length, err := twoIntegers(args[1:])
	if err != nil {
		return nil, err
	}
	return c.readPart(file(p), offset, length)
}

func (c *rpc) tailStdout(args []any) (any, error) {
	return c.tailOf(args, func(p Process) string { return p.Stdout })
}

func (c *rpc) tailStderr(args []any) (any, error) {
	return c.tailOf(args, func(p Process) string { return p.Stderr })
}

// tailOf reads the end of a log, at most so many bytes of what came after an
// offset.
func (c *rpc) tailOf(args []any, file func(Process) string) (any, error) {
	p, err := c.one(args[0])
	if err != nil {
		return nil, err
	}
	offset, length, err := twoIntegers(args[1:])
	if err != nil {
		return nil, err
	}
	f, size, err := openLog(file(p))
	if err != nil {
		return []any{"", 0, false}, nil
	}
	defer f.Close()
	// What comes is the end of the log: length bytes of it, whatever the offset says.
	// That one only tells whether there is something new, and whether it is more.
	overflow := size > int64(offset)+int64(length)
	n := min(max(int64(length), 0), size)
	if !overflow && int64(offset) >= size {
		n = 0
	}
	text, err := c.readBytes(f, size-n, n)
	if err != nil {
		return nil, err
	}
	return []any{text, int(min(size, math.MaxInt32)), overflow}, nil
}

func (c *rpc) clearLog([]any) (any, error) {
	f, _, err := openLog(c.daemon.Info().Log)
	if err != nil {
		return nil, xmlrpc.NewFault(xmlrpc.NoFile, "")
	}
	f.Close()
	if err := c.daemon.ClearLog(); err != nil {
		return nil, xmlrpc.NewFault(xmlrpc.Failed, err.Error())
	}
	return true, nil
}
