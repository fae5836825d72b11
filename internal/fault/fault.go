// Package fault lets this process die at chosen points, for the tests that show
// that nobody is harmed by that.
//
// A [Point] costs a look at a variable, and does nothing unless TEND_TEST_FAULT
// names it: "NAME,N" is death by SIGKILL at about the Nth time that the point is
// passed, "*,N" at any point. How many times exactly differs from process to
// process, so that one that is started again and again gets on.
package fault

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var (
	armed bool
	name  string
	left  atomic.Int64
)

func init() {
	value := os.Getenv("TEND_TEST_FAULT")
	if value == "" {
		return
	}
	point, number, _ := strings.Cut(value, ",")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 {
		return
	}
	armed, name = true, point
	left.Store(int64(n + os.Getpid()%n))
}

// Point is a place at which the process may have to die.
func Point(at string) {
	if armed && (name == "*" || name == at) && left.Add(-1) == 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // it comes at once
	}
}
