package daemon

import (
	"slices"
	"testing"
	"time"
)

// TestInbox: a question goes before what was posted earlier, and what is posted keeps
// its order.
func TestInbox(t *testing.T) {
	lags := 0
	b := inbox{wake: make(chan struct{}, 1), lag: func(time.Duration) { lags++ }}
	var did []string
	do := func(what string) func() { return func() { did = append(did, what) } }
	b.put(func() {
		did = append(did, "first")
		b.ask(do("question of the first"))
	})
	b.put(do("second"))
	b.ask(do("question"))
	<-b.wake
	b.answer()
	for _, f := range b.take() {
		f()
		b.answer()
	}
	if want := []string{"question", "first", "question of the first", "second"}; !slices.Equal(did, want) {
		t.Errorf("did %q, want %q", did, want)
	}
	b.take()
	if lags != 1 {
		t.Errorf("%d times of waiting were told for one time of taking", lags)
	}
	select {
	case <-b.wake: // of the question of the first
	default:
		t.Error("nobody was told of a question")
	}
}
