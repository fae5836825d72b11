package server

import (
	"context"
	"errors"
	"io"

	"tend/internal/logs"
)

// This file is all that the server knows of how logs are stored.

// A position is a place in the log of one instance. The zero position is the
// beginning of the oldest file there is.
type position = logs.Position

// What is asked for of a log, and what reads that.
type (
	selection = logs.Selection
	logReader = logs.Reader
	logLine   = logs.Line
)

// reader opens the log at the first line that is selected. A log without a file
// is empty.
func (f LogFile) reader(sel selection) (*logReader, error) {
	return logs.NewReader(f.Path, f.Keep, sel)
}

// end returns the position of the present end.
func (f LogFile) end() (position, error) { return logs.Read(io.Discard, f.Path, f.Keep, 0) }

// follow hands what comes after from to emit, with the position after it, until
// ctx ends or emit fails.
func (f LogFile) follow(ctx context.Context, from position, emit func([]byte, position) error) error {
	return logs.Follow(ctx, f.Path, f.Keep, from, emit)
}

// rotatedAway reports whether follow failed as the file of from is no more.
func rotatedAway(err error) bool { return errors.Is(err, logs.ErrGone) }

// reached reports whether p is at or behind end. Of positions in different files
// it doesn't know.
func reached(p, end position) bool {
	return p.Inode == end.Inode && p.Birth == end.Birth && p.Offset >= end.Offset
}
