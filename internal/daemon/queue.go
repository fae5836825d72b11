package daemon

import (
	"sync"
	"time"
)

// inbox is the loop's mailbox. It has no bound, since those who post must not
// block: the reaper that tells of an end, above all.
//
// Questions are apart, and are answered before what else there is: they change
// nothing, and who asks how things are in a storm of deaths doesn't wait for its end.
type inbox struct {
	mu        sync.Mutex
	list      []func()
	questions []func()
	since     time.Time     // the first of list came in
	wake      chan struct{} // holds a token while there is mail; made with room for one

	lag func(time.Duration) // told how long the first has waited; nil: nobody
}

func (b *inbox) put(f func()) {
	b.mu.Lock()
	if len(b.list) == 0 {
		b.since = time.Now()
	}
	b.list = append(b.list, f)
	b.mu.Unlock()
	b.tell()
}

func (b *inbox) ask(f func()) {
	b.mu.Lock()
	b.questions = append(b.questions, f)
	b.mu.Unlock()
	b.tell()
}

func (b *inbox) tell() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list = nil
	if b.lag != nil && len(list) > 0 {
		b.lag(time.Since(b.since))
	}
	return list
}

// answer runs the questions.
func (b *inbox) answer() {
	b.mu.Lock()
	list := b.questions
	b.questions = nil
	b.mu.Unlock()
	for _, f := range list {
		f()
	}
}

// queue runs jobs in the order given, at most limit at a time. Its goroutines
// exist only while there is work.
type queue struct {
	limit   int
	mu      sync.Mutex
	jobs    []func()
	workers int
	open    sync.WaitGroup // jobs not done
}

func (q *queue) put(job func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open.Add(1)
	q.jobs = append(q.jobs, job)
	if q.workers < q.limit {
		q.workers++
		go q.work()
	}
}

func (q *queue) work() {
	for {
		q.mu.Lock()
		if len(q.jobs) == 0 {
			q.jobs = nil
			q.workers--
			q.mu.Unlock()
			return
		}
		job := q.jobs[0]
		q.jobs[0] = nil
		q.jobs = q.jobs[1:]
		q.mu.Unlock()
		job()
		q.open.Done()
	}
}

// wait returns when all jobs are done. Nothing may be put meanwhile.
func (q *queue) wait() { q.open.Wait() }
