//go:build race

package sim

// stepsByDefault is small here: the race detector makes each step many times
// slower, and a World has no goroutines.
const stepsByDefault = 60_000
