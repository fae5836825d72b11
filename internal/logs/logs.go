// Package logs carries the bytes that programs write: from a pipe into a file,
// over rotations, and back to whoever wants to read them.
//
// A [Capture] owns one pipe for each [Stream]. The pipe is opened for reading
// and writing, so that the program never sees SIGPIPE when the daemon dies, and
// is emptied by splice(2): a byte is in the pipe or in the file, never in the
// daemon's memory alone. One epoll watches all pipes; goroutines exist only
// while there is something to carry. [Read] and [Follow] need nothing but the
// files and may run in any process.
//
// The end of a program's output is not an end of file, which never comes. It is
// "the process has ended and the pipe is empty": see [Stream.Drain].
//
// The package knows nothing of programs, instances or restarts, calls fsync
// for nobody: what is in the file survives the daemon, not the machine.
package logs

import (
	"fmt"
	"time"
)

// Mode says where a stream's bytes go.
type Mode uint8

const (
	File    Mode = iota // to the file Options.Path, rotated by size
	Inherit             // to Config.Stdout, as they are
	None                // nowhere: read and forgotten

	InheritError // to Config.Stderr, as they are
)

// Options say what to do with the bytes of one stream.
type Options struct {
	Mode Mode
	Path string // absolute; File only. Missing folders are made (0755), the file is 0640

	// MaxSize is the size in bytes at which a regular file is rotated; 0 is
	// never. Files are cut at a line's end and hold at most MaxSize bytes, but
	// for a line that reaches over the limit after its beginning was written:
	// it is finished where it began, up to 2 × MaxSize, then cut there.
	MaxSize int64

	// Keep is how many rotated files stay: Path.1, the newest, to Path.Keep.
	// With 0 a full file is removed, and a new one begun.
	Keep int

	// Compress is how rotated files are compressed, in the background.
	Compress Codec

	// Recipe, if set, says what is made of the output. For File and the standard
	// outputs.
	Recipe *Recipe

	// Rate is how many bytes a second go to the destination; what is more is left
	// out, counted and told; 0 is no limit.
	Rate int64

	// Tap, if set, sees the bytes on their way.
	Tap Tap

	// Also is where each line goes besides; Source is what is said of it there. A
	// stream that has such isn't spliced. Should this process die with lines on
	// their way, they go to the file and perhaps nowhere else.
	Also   []Target
	Source Source

	// UID and GID are given to the pipe when it is made, so that a program that
	// runs as another user can open its own /dev/stdout; -1 leaves the
	// daemon's. Configure ignores them.
	UID, GID int
}

// A Tap sees all bytes of a stream, each once and in order, whatever becomes of
// them, and returns what goes to the destination instead: p, a part of it, or
// something else that is about as long. It may keep no hold on p, and may change it.
// Calls of one stream don't overlap, unless its tap was changed while one was under
// way. A tap holds up the stream, and others with it: it must not wait for anything
// that takes long, and not call the Capture.
//
// A stream that has a tap isn't spliced. Should this process die while its tap has
// them, bytes go to the file as they were in the pipe.
type Tap func(p []byte) []byte

func (o *Options) check() error {
	for _, t := range o.Also {
		if err := t.check(); err != nil {
			return err
		}
	}
	switch {
	case o.Mode > InheritError:
		return fmt.Errorf("unknown log mode %d", o.Mode)
	case o.Mode == File && (o.Path == "" || o.Path[0] != '/'):
		return fmt.Errorf("log path %q is not absolute", o.Path)
	case o.Rate < 0:
		return fmt.Errorf("rate limit of a log, %d, is negative", o.Rate)
	case o.MaxSize < 0:
		return fmt.Errorf("log size %d is negative", o.MaxSize)
	case int(o.Compress) >= len(suffixes):
		return fmt.Errorf("unknown compression %d", o.Compress)
	case o.Keep < 0:
		return fmt.Errorf("number of rotated logs to keep, %d, is negative", o.Keep)
	case o.Recipe != nil && o.Recipe.MaxLine != 0 && o.Recipe.MaxLine < MinMaxLine:
		return fmt.Errorf("longest line of a log, %d bytes, is less than %d", o.Recipe.MaxLine, MinMaxLine)
	}
	return nil
}

// A Notice tells that a destination has failed (Err is set), or that it has
// taken bytes again (Err is nil). It comes once per change, not once per byte.
type Notice struct {
	Stream  string // the name given to Pipe
	Path    string // the file; empty for Inherit and InheritError
	Err     error  // why nothing can be written or rotated; nil: it can again
	Dropped int64  // bytes lost since the destination failed
	Kept    bool   // with Err: nothing is lost by it
	Limited bool   // it is Options.Rate that lets no more pass
}

const (
	// turnBytes is about how much one stream may move before the next one has
	// its turn.
	turnBytes = 1 << 20

	// retryAfter is how long a failed destination is left alone. Output that
	// comes meanwhile is dropped; a try costs a few system calls.
	retryAfter = 100 * time.Millisecond

	// stuckAfter is how long a destination that is no regular file (a terminal,
	// a named pipe) may refuse bytes before output is dropped.
	stuckAfter = time.Second

	// minNap and maxNap bound the pause between two turns of a stream that
	// writes densely; maxNap is what batching may add to the latency of a line.
	minNap = 50 * time.Microsecond
	maxNap = 500 * time.Microsecond

	// The pipe of a stream that writes more than it holds in the longest nap is made
	// larger, up to bigPipe, which is what anybody may have (pipe-max-size), and the
	// nap may be twice as long then. A user's pipes share a limit
	// (pipe-user-pages-soft, by default as much as 1,024 pipes have); so only maxBig
	// of them at a time are large.
	plainPipe = 64 << 10
	bigPipe   = 1 << 20
	maxBig    = 8

	// Near its size limit a file is written by the line. A pipe is no more than that
	// part of it, so that this is the exception.
	pipesPerFile = 16

	// The beginning of a line that has to be whole waits in the pipe for its rest:
	// it is looked at again after firstHold, then after twice that, and so on until
	// after lastHold, a second altogether; then it is taken for whole.
	firstHold = time.Millisecond
	lastHold  = 512 * time.Millisecond

	// fileWorkers bounds the goroutines, and so the threads, that write files:
	// that many destinations may hang before others wait.
	fileWorkers = 8

	defaultOpenFiles = 256
)
