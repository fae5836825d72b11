package logs

import (
	"fmt"
	"sync"
	"time"
)

// patience is how long a Writer waits for who doesn't read what it writes.
const patience = time.Second

// A Writer is a log file that is written by calls, not by a program. It is
// rotated when it has reached its size, and never within what one call writes.
type Writer struct {
	max  int64
	keep int

	mu    sync.Mutex
	files *files
	file  *file
}

// OpenWriter opens the file at path, to append to it. It is rotated at max bytes,
// 0 is never, with keep older files.
func OpenWriter(path string, max int64, keep int) (*Writer, error) {
	w := &Writer{max: max, keep: keep, files: newFiles(1), file: &file{path: path, fd: -1}}
	if err := w.file.open(w.files); err != nil {
		return nil, err
	}
	return w, nil
}

// Path returns the path that the file was opened by.
func (w *Writer) Path() string { return w.file.path }

// Write writes all of p, or nothing. A file that can't be rotated grows on: the
// error is of that, then, and p is written.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	size, err := w.file.ready(w.files)
	if err == nil {
		err = w.file.write(p, size, patience)
	}
	if err != nil {
		return 0, err
	}
	if w.max > 0 && w.file.regular && size+int64(len(p)) >= w.max {
		if err := w.file.rotate(w.files, w.keep); err != nil {
			return len(p), fmt.Errorf("it grows on: %w", err)
		}
	}
	return len(p), nil
}

// Reopen closes the file; the next Write opens it by its name.
func (w *Writer) Reopen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.file.close()
}

// Close closes the file.
func (w *Writer) Close() { w.Reopen() }
