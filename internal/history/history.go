// Package history keeps what is over: the latest entries of each subject, in one
// file that is only appended to and never grows beyond a bound.
//
// Whoever adds an entry waits for nothing: a goroutine that exists while there is
// something to write takes what came in some milliseconds as one write(2). It
// writes no faster than a rate, with a reserve for the times when everything ends
// at once. Where more comes for long, the latest of each subject wait in memory,
// also within a bound, and each says how many before it were left out.
//
// The file is lines, each with a checksum. When it has grown to its bound it is
// written anew beside the old one and renamed over it, with what is kept: as many
// of each subject as fit, the same number for all, so that one that never stops
// coming pushes nobody else out. A last line that was cut short, by a death or a
// full disk, is taken off, and a damaged one passed over; a file of another kind
// or of a later version is set aside. Each is told, none is an error.
//
// An entry is known by its [Key]: one that is added again takes the place of the
// first. Nothing is held in memory of what is written, and the file is read when
// somebody asks.
//
// The package knows nothing of what the entries mean.
package history

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"tend/internal/fault"
)

// magic begins the file; the number is the version of the format. What the
// entries hold has a version of its own.
const magic = "tend history 1\n"

// Kept is how many entries of a subject are kept at most.
const Kept = 50

// MaxData is the length of the longest Data, in bytes; a longer one is no entry.
const MaxData = 32 << 10

// The bounds of a store in force; tests have narrower ones.
var bounds = limits{
	large: 8 << 20, rest: 4 << 20, rate: 4 << 10, reserve: 4 << 20, wait: 2 << 20,
	gather: 20 * time.Millisecond, retry: 5 * time.Second,
}

type limits struct {
	large   int64         // bytes of a file that is written anew
	rest    int64         // bytes of it after that, at most
	rate    float64       // bytes a second
	reserve float64       // bytes beyond the rate, when nothing was written for long
	wait    int           // bytes that wait to be written
	gather  time.Duration // in which what comes is one write
	retry   time.Duration // after a write that failed
}

// A Subject is what entries are about: an instance of a program.
type Subject struct {
	Program string
	Index   int
}

// A Key tells an entry from all others: by the generation of the subject. Life and
// Mark tell apart generations that were counted from the beginning, after all was
// forgotten or the subject alone. Life has no blanks and isn't "".
type Key struct {
	Subject
	Life string
	Gen  uint64
	Mark int64
}

// An Entry is one thing that is over.
type Entry struct {
	Key
	Name    string    // of the subject at that time
	At      time.Time // in milliseconds
	Skipped int       // how many of the same subject just before it were left out
	Data    []byte    // without a line's end
}

// size is about how long the line is.
func (e *Entry) size() int { return len(e.Data) + len(e.Program) + len(e.Name) + 60 }

var checksums = crc32.MakeTable(crc32.Castagnoli)

// appendLine adds e as a line: the checksum, and what it is of.
func appendLine(b []byte, e *Entry) []byte {
	begin := len(b)
	b = append(b, "00000000 "...)
	b = append(b, e.Life...)
	for _, n := range []int64{int64(e.Index), int64(e.Gen), e.Mark, e.At.UnixMilli(), int64(e.Skipped)} {
		b = strconv.AppendInt(append(b, ' '), n, 10)
	}
	b = strconv.AppendQuote(append(b, ' '), e.Program)
	b = strconv.AppendQuote(append(b, ' '), e.Name)
	b = append(append(b, ' '), e.Data...)
	copy(b[begin:], fmt.Sprintf("%08x", crc32.Checksum(b[begin+9:], checksums)))
	return append(b, '\n')
}

// parseLine returns the entry of a line without its end, whose Data is a part of
// it. ok is false where it is none.
func parseLine(line []byte) (e Entry, ok bool) {
	if len(line) < 10 || line[8] != ' ' {
		return e, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum(line[9:], checksums) {
		return e, false
	}
	life, rest, _ := bytes.Cut(line[9:], []byte(" "))
	var numbers [5]int64
	for i := range numbers {
		var number []byte
		if number, rest, ok = bytes.Cut(rest, []byte(" ")); !ok {
			return e, false
		}
		if numbers[i], err = strconv.ParseInt(string(number), 10, 64); err != nil {
			return e, false
		}
	}
	var texts [2]string
	for i := range texts {
		quoted, err := strconv.QuotedPrefix(string(rest[:min(len(rest), 1<<10)]))
		if err != nil || len(rest) <= len(quoted) || rest[len(quoted)] != ' ' {
			return e, false
		}
		texts[i], _ = strconv.Unquote(quoted) // it is one
		rest = rest[len(quoted)+1:]
	}
	return Entry{
		Key:  Key{Subject{texts[0], int(numbers[0])}, string(life), uint64(numbers[1]), numbers[2]},
		Name: texts[1], At: time.UnixMilli(numbers[3]), Skipped: int(numbers[4]), Data: rest,
	}, true
}

// A Store is the file. Its methods may be called from several goroutines.
type Store struct {
	path   string
	notice func(string)
	limits

	file sync.Mutex // of what follows, and of the file; taken before mu
	f    *os.File   // nil: not open yet
	size int64
	most int64   // size at which it is written anew
	room float64 // bytes that may be written at once
	at   time.Time
	sick bool // the last write failed

	mu      sync.Mutex
	pending []*Entry
	latest  map[Subject]*Entry // of pending
	waiting int                // bytes of pending
	lost    int                // entries that had no place in it
	behind  bool               // some are left out
	said    bool               // and that was said
	going   bool               // the writer
	closed  bool
	hurry   chan struct{} // closed with the store
	once    sync.Once     // does that
	work    sync.WaitGroup
}

// Open returns the store of the file at path, which is opened or made when it is
// needed. notice is told in words what was lost, and what can't be done; it must
// not call the store.
func Open(path string, notice func(string)) *Store { return open(path, notice, bounds) }

func open(path string, notice func(string), l limits) *Store {
	return &Store{path: path, notice: notice, limits: l, most: l.large, room: l.reserve, at: time.Now(), latest: make(map[Subject]*Entry), hurry: make(chan struct{})}
}

// Add takes an entry, or what more is known of one that it was given. It never
// waits.
func (s *Store) Add(e Entry) {
	if len(e.Data) > MaxData || bytes.IndexByte(e.Data, '\n') >= 0 {
		panic("history: data that is no entry")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	before := s.latest[e.Subject]
	crowded := s.waiting > s.wait/4 // more comes than may be written
	switch {
	case before != nil && before.Key == e.Key:
		s.waiting += e.size() - before.size()
		e.Skipped = before.Skipped
		*before = e
	case before != nil && crowded && before.At.After(e.At): // too late for that
	case before != nil && crowded:
		s.waiting += e.size() - before.size()
		e.Skipped += before.Skipped + 1
		*before = e
		s.behind = true
	case s.waiting+e.size() > s.wait:
		s.lost++
		s.behind = true
	default:
		s.queue(&e)
	}
	if !s.going {
		s.going = true
		s.work.Go(s.write)
	}
}

// queue lets an entry wait.
func (s *Store) queue(e *Entry) {
	s.pending = append(s.pending, e)
	s.latest[e.Subject] = e
	s.waiting += e.size()
}

// Fill adds those of a list that aren't there: entries that whoever has died may have
// added or not. The list is made and looked for beside the caller.
func (s *Store) Fill(list func() []Entry) {
	s.work.Go(func() {
		list := list()
		missing := make(map[Key]bool, len(list))
		for _, e := range list {
			missing[e.Key] = true
		}
		if err := s.each(func(e *Entry) { delete(missing, e.Key) }); err != nil {
			return // which was told
		}
		for _, e := range list {
			if missing[e.Key] {
				delete(missing, e.Key)
				s.Add(e)
			}
		}
	})
}

// Read returns the latest entries of each subject that is wanted, at most limit
// of each and none from before since, in the order in which they were added.
func (s *Store) Read(want func(Subject, string) bool, since time.Time, limit int) ([]Entry, error) {
	limit = min(limit, Kept)
	type kept struct {
		list []Entry
		keys map[Key]bool
	}
	subjects := make(map[Subject]*kept)
	n := 0
	order := make(map[Key]int)
	err := s.each(func(e *Entry) {
		if limit <= 0 || e.At.Before(since) || !want(e.Subject, e.Name) {
			return
		}
		k := subjects[e.Subject]
		if k == nil {
			k = &kept{keys: make(map[Key]bool)}
			subjects[e.Subject] = k
		}
		copied := *e
		copied.Data = bytes.Clone(e.Data)
		if k.keys[e.Key] {
			if i := slices.IndexFunc(k.list, func(o Entry) bool { return o.Key == e.Key }); i >= 0 {
				k.list[i] = copied
			}
			return
		}
		k.keys[e.Key] = true
		k.list = append(k.list, copied)
		order[e.Key] = n
		n++
		if over := len(k.list) - limit; over > 0 {
			delete(order, k.list[0].Key) // but its key stays known: it isn't to come again
			k.list = k.list[over:]
		}
	})
	if err != nil {
		return nil, err
	}
	var list []Entry
	for _, k := range subjects {
		list = append(list, k.list...)
	}
	slices.SortFunc(list, func(a, b Entry) int { return order[a.Key] - order[b.Key] })
	return list, nil
}

// Close writes what waits, whatever the rate, and lets go of the file. What is
// added afterwards is lost.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.hurry) })
	s.work.Wait() // for a Fill too, which adds
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.file.Lock()
	defer s.file.Unlock()
	err := s.flush(true)
	if s.f != nil {
		err = errors.Join(err, s.f.Close())
		s.f = nil
	}
	return err
}

// Flush writes what waits, whatever the rate.
func (s *Store) Flush() error {
	s.file.Lock()
	defer s.file.Unlock()
	return s.flush(true)
}

// write is the writer: it goes on until nothing waits.
func (s *Store) write() {
	rest := s.gather
	for {
		timer := time.NewTimer(rest)
		select {
		case <-timer.C:
		case <-s.hurry: // Close does the rest
			timer.Stop()
			return
		}
		s.file.Lock()
		err := s.flush(false)
		lack := s.lack()
		s.file.Unlock()
		s.mu.Lock()
		over, lost, say := len(s.pending) == 0, s.lost, s.behind && !s.said
		s.said = s.behind
		if over {
			s.going, s.pending, s.latest, s.lost, s.behind, s.said = false, nil, make(map[Subject]*Entry), 0, false, false
		}
		s.mu.Unlock()
		switch {
		case over && lost > 0:
			s.notice(fmt.Sprintf("the history keeps up again; %d ends are not in it", lost))
		case !over && say && err == nil:
			s.notice("programs end faster than their history may be written: of some only the latest ends will be in it")
		}
		if over {
			return
		}
		if rest = max(s.gather, lack); err != nil {
			rest = s.retry
		}
	}
}

// lack returns how long it takes until there is room for the lines of a second.
// The file is locked.
func (s *Store) lack() time.Duration {
	s.fill()
	return time.Duration(max(0, min(s.reserve, s.rate)-s.room) / s.rate * float64(time.Second))
}

// fill adds to room what the time since has brought.
func (s *Store) fill() {
	now := time.Now()
	s.room = min(s.reserve, s.room+s.rate*max(0, now.Sub(s.at)).Seconds())
	s.at = now
}

// flush writes what waits and has room, all of it where that is asked for. The
// file is locked.
func (s *Store) flush(all bool) error {
	s.fill()
	s.mu.Lock()
	n, size := 0, 0
	for n < len(s.pending) && (all || float64(size) < s.room) {
		e := s.pending[n]
		size += e.size()
		if s.latest[e.Subject] == e { // no other one can take its place any more
			delete(s.latest, e.Subject)
		}
		n++
	}
	s.waiting -= size
	taken := s.pending[:n:n]
	s.pending = s.pending[n:]
	s.mu.Unlock()
	if n == 0 {
		return nil
	}
	lines := make([]byte, 0, size)
	for _, e := range taken {
		lines = appendLine(lines, e)
	}
	err := s.open()
	if err == nil {
		err = s.append(lines)
	}
	if err != nil {
		s.mu.Lock()
		list := slices.Concat(taken, s.pending)
		s.pending, s.waiting = nil, 0
		for _, e := range list {
			s.queue(e)
		}
		s.mu.Unlock()
		if !s.sick {
			s.sick = true
			s.notice(fmt.Sprintf("%v; until that works again, this daemon alone knows what ends", err))
		}
		return err
	}
	s.room -= float64(len(lines))
	if s.sick {
		s.sick = false
		s.notice("the history is written again")
	}
	if s.size > s.most {
		s.compact()
	}
	return nil
}

// append writes lines at the end of the file, all or none.
func (s *Store) append(lines []byte) error {
	if _, err := s.f.WriteAt(lines, s.size); err != nil {
		s.f.Truncate(s.size) // of half a line; if that fails, the next one is written over it
		return fmt.Errorf("cannot write the history: %w", err)
	}
	s.size += int64(len(lines))
	fault.Point("history.written")
	return nil
}

// open opens the file, or makes one, and sees to it that it ends in a whole line.
func (s *Store) open() error {
	if s.f != nil {
		return nil
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the history: %w", err)
	}
	whole, damaged, err := scan(f, func(*Entry, int64, int) {})
	var info os.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	switch {
	case errors.Is(err, errForeign):
		f.Close()
		aside := s.path + ".set-aside"
		if err := os.Rename(s.path, aside); err != nil {
			return fmt.Errorf("cannot begin a history: %w", err)
		}
		s.notice(fmt.Sprintf("%s is no history that this version of tend can read; it is in %s, and a new one is begun", s.path, aside))
		if f, err = os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return fmt.Errorf("cannot open the history: %w", err)
		}
		whole, damaged, info = 0, 0, nil
	case err != nil:
		f.Close()
		return fmt.Errorf("cannot read the history: %w", err)
	}
	if info != nil && info.Size() > whole {
		if err := f.Truncate(whole); err != nil {
			f.Close()
			return fmt.Errorf("cannot mend the history: %w", err)
		}
		s.notice(fmt.Sprintf("%s was cut short: the last %d bytes of it are no entry, and are gone", s.path, info.Size()-whole))
	}
	if damaged > 0 {
		s.notice(fmt.Sprintf("%s is damaged: %d of its lines are no entries, and are passed over", s.path, damaged))
	}
	if whole == 0 {
		if _, err := f.WriteAt([]byte(magic), 0); err != nil {
			f.Close()
			return fmt.Errorf("cannot begin a history: %w", err)
		}
		whole = int64(len(magic))
	}
	s.f, s.size = f, whole
	return nil
}

// errForeign says of a file that it isn't ours.
var errForeign = errors.New("no history of this version")

// scan hands each entry of a file to a function, with the place and length of its
// line. It returns how many bytes are whole lines, and how many of these are no
// entries.
func scan(r io.Reader, each func(e *Entry, at int64, length int)) (whole int64, damaged int, err error) {
	in := bufio.NewReaderSize(r, 2*MaxData)
	head, err := in.Peek(len(magic))
	switch {
	case err != nil && err != io.EOF:
		return 0, 0, err
	case string(head) == magic[:len(head)] && len(head) < len(magic): // cut short, or empty
		return 0, 0, nil
	case string(head) != magic:
		return 0, 0, errForeign
	}
	in.Discard(len(magic)) // which was peeked at
	whole = int64(len(magic))
	at, long := whole, false // long: the line is longer than what fits
	for {
		line, err := in.ReadSlice('\n')
		at += int64(len(line))
		switch {
		case err == bufio.ErrBufferFull:
			long = true
		case err == io.EOF:
			return whole, damaged, nil
		case err != nil:
			return whole, damaged, err
		default:
			e, ok := parseLine(line[:len(line)-1])
			if ok && !long {
				each(&e, whole, int(at-whole))
			} else {
				damaged++
			}
			whole, long = at, false
		}
	}
}

// each hands all entries to a function, those that wait to be written last. It
// holds the file meanwhile, for which nobody waits but the writer and others who
// read.
func (s *Store) each(f func(*Entry)) error {
	s.file.Lock()
	defer s.file.Unlock()
	err := s.open()
	if err == nil {
		_, _, err = scan(io.NewSectionReader(s.f, 0, s.size), func(e *Entry, _ int64, _ int) { f(e) })
	}
	if err != nil {
		if !s.sick {
			s.sick = true
			s.notice(err.Error())
		}
		return err
	}
	s.mu.Lock()
	pending := make([]Entry, len(s.pending))
	for i, e := range s.pending {
		pending[i] = *e
	}
	s.mu.Unlock()
	for i := range pending {
		f(&pending[i])
	}
	return nil
}

// A line is a place in the file.
type line struct {
	at     int64
	length int
}

// compact writes the file anew, with what is kept of it. Where that fails the old
// one goes on, and it is tried again when that has grown by half.
func (s *Store) compact() {
	if err := s.anew(); err != nil {
		s.most = s.size + s.size/2
		s.notice(fmt.Sprintf("cannot write the history anew: %v; it grows beyond its bound", err))
		return
	}
	s.most = s.large
}

func (s *Store) anew() (err error) {
	var order []Subject // by their first line
	lines := make(map[Subject][]line)
	seen := make(map[Key]int) // the places in those
	_, _, err = scan(io.NewSectionReader(s.f, 0, s.size), func(e *Entry, at int64, length int) {
		if i, ok := seen[e.Key]; ok {
			lines[e.Subject][i] = line{at, length}
			return
		}
		seen[e.Key] = len(lines[e.Subject])
		if lines[e.Subject] == nil {
			order = append(order, e.Subject)
		}
		lines[e.Subject] = append(lines[e.Subject], line{at, length})
	})
	if err != nil {
		return err
	}
	keep := choose(order, lines, s.rest)
	f, err := os.OpenFile(s.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	out := bufio.NewWriterSize(f, 64<<10)
	size := int64(len(magic))
	out.WriteString(magic) // an error of it stays, until Flush
	for _, l := range keep {
		if _, err := io.Copy(out, io.NewSectionReader(s.f, l.at, int64(l.length))); err != nil {
			return err
		}
		size += int64(l.length)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil { // or the name may be there after the machine's death, and no content
		return err
	}
	fault.Point("history.anew")
	if err := os.Rename(f.Name(), s.path); err != nil {
		return err
	}
	s.f.Close()
	s.f, s.size = f, size
	if dir, err := os.Open(filepath.Dir(s.path)); err == nil {
		dir.Sync() // without it the old file may be back after the machine's death
		dir.Close()
	}
	return nil
}

// choose returns the lines that are kept, in their order: the latest of each
// subject, as many of each as make room bytes together. Where one of each is too
// much already, those go that have had none for longest.
func choose(order []Subject, lines map[Subject][]line, room int64) []line {
	latest := func(n int) (keep []line, size int64) {
		for _, o := range order {
			list := lines[o]
			for _, l := range list[max(0, len(list)-n):] {
				keep = append(keep, l)
				size += int64(l.length)
			}
		}
		return keep, size
	}
	n := Kept
	keep, size := latest(n)
	for size > room && n > 1 {
		n = n * 3 / 4
		keep, size = latest(n)
	}
	slices.SortFunc(keep, func(a, b line) int { return int(a.at - b.at) })
	for size > room && len(keep) > 0 {
		size -= int64(keep[0].length)
		keep = keep[1:]
	}
	return keep
}
