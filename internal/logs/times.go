package logs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"time"
)

// Output that carries no times itself can still be asked for by time: beside the
// logs is an index that says, about once a second while a program prints, how
// large its file was by then. That costs three system calls a second, and isn't
// precise to the line; time stamps are, see [Recipe].

// noteEvery is how often the place in a file is noted at most.
const noteEvery = time.Second

const (
	noteSize = 40

	// An index that has manyNotes is thinned out: of all but the latest fewNotes
	// every second one goes, so that what is long past is told less precisely.
	manyNotes = 2048
	fewNotes  = 512
)

// A note is a place in a file and two times: what is before was written by then,
// what is behind since then.
type note struct {
	at     Position
	before int64 // ns since 1970
	since  int64
}

func (n note) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, n.at.Inode)
	b = binary.LittleEndian.AppendUint64(b, uint64(n.at.Birth))
	b = binary.LittleEndian.AppendUint64(b, uint64(n.at.Offset))
	b = binary.LittleEndian.AppendUint64(b, uint64(n.before))
	return binary.LittleEndian.AppendUint64(b, uint64(n.since))
}

func decodeNote(b []byte) note {
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	return note{at: Position{at(0), int64(at(1)), int64(at(2))}, before: int64(at(3)), since: int64(at(4))}
}

// indexOf returns the path of the index of a log.
func indexOf(folder, path string) string {
	h := fnv.New64a()
	h.Write([]byte(path))
	return filepath.Join(folder, fmt.Sprintf("%016x", h.Sum64()))
}

// addNote appends to the index of a log. That it fails is no harm.
func addNote(folder, path string, n note) {
	name := indexOf(folder, path)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if os.IsNotExist(err) {
		if os.MkdirAll(folder, 0o750) == nil {
			f, err = os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
		}
	}
	if err != nil {
		return
	}
	defer f.Close()
	if _, err := f.Write(n.append(nil)); err != nil {
		return
	}
	if st, err := f.Stat(); err == nil && st.Size() >= manyNotes*noteSize {
		thin(name)
	}
}

// thin makes an index shorter.
func thin(name string) {
	b, err := os.ReadFile(name)
	if err != nil {
		return
	}
	n := len(b) / noteSize
	var out bytes.Buffer
	for i := range n {
		if i%2 == 0 || i >= n-fewNotes {
			out.Write(b[i*noteSize : (i+1)*noteSize])
		}
	}
	if os.WriteFile(name+".new", out.Bytes(), 0o640) == nil {
		_ = os.Rename(name+".new", name)
	}
}

// notesOf returns the notes in the index of a log, by file, in order.
func notesOf(folder, path string) map[Position][]note {
	if folder == "" {
		return nil
	}
	b, err := os.ReadFile(indexOf(folder, path))
	if err != nil {
		return nil
	}
	all := make(map[Position][]note)
	for ; len(b) >= noteSize; b = b[noteSize:] {
		n := decodeNote(b)
		id := n.at
		id.Offset = 0
		list := all[id]
		if len(list) > 0 && n.at.Offset < list[len(list)-1].at.Offset {
			list = nil // it was truncated
		}
		all[id] = append(list, n)
	}
	return all
}
