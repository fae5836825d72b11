package daemon

import (
	"slices"
	"testing"
)

// TestInbox: a question goes before what was posted earlier, and what is posted keeps
// its order.
func TestInbox(t *testing.T) {
	b := inbox{wake: make(chan struct{}, 1)}
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
	select {
	case <-b.wake: // of the question of the first
	default:
		t.Error("nobody was told of a question")
	}
}
