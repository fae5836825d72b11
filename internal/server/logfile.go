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

// tail writes the last lines to w, all there are with lines < 0, and returns the
// position after them. A log without a file is empty.
func (f LogFile) tail(w io.Writer, lines int) (position, error) {
	return logs.Read(w, f.Path, f.Keep, lines)
}

// end returns the position of the present end.
func (f LogFile) end() (position, error) { return f.tail(io.Discard, 0) }

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
