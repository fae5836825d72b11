package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"tend/internal/ledger"
)

// cmdPort sets a variable to a TCP port that was free a moment ago: "port VAR".
func cmdPort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Setenv(args[0], port)
}

// dial connects to host:port, or to a unix socket by its path.
func dial(address string) (net.Conn, error) {
	if strings.Contains(address, "/") {
		return net.Dial("unix", address)
	}
	return net.Dial("tcp", address)
}

// request makes a connection, says something, and returns all that is answered.
func request(address string) (string, error) {
	c, err := dial(address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	if err == nil && len(answer) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return string(answer), err
}

// stream makes one connection after the other, of two at a time, until it is told
// to stop, and prints what came of them.
func stream(address string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT)
	var answered, failed atomic.Int64
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := request(address); err == nil {
					answered.Add(1)
				} else if failed.Add(1) < 10 {
					fmt.Println(err)
				}
			}
		})
	}
	<-stop
	close(done)
	clients.Wait()
	fmt.Printf("%d answered, %d failed\n", answered.Load(), failed.Load())
}

// hold keeps a connection open, once that is noticed at the other end, until
// somebody writes to a fifo.
func hold(address, fifo string) {
	c, err := dial(address)
	if err == nil {
		_, err = io.WriteString(c, "hold\n")
	}
	if err == nil {
		_, err = os.ReadFile(fifo)
	}
	if err != nil {
		panic(err)
	}
	c.Close()
}

// occupy listens at an address and answers, until it is killed.
func occupy(address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		io.WriteString(c, "occupied\n")
		c.Close()
	}
}

// cmdLate makes the next run of a program one that was due a day earlier, in the
// ledger of a daemon that is dead: "late PROGRAM". That is what a machine finds
// that was off for a day.
func cmdLate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: late PROGRAM")
	}
	l, values, notice, err := ledger.Open(ts.MkAbs(".tend/ledger"))
	ts.Check(err)
	defer l.Close()
	key := "instance/" + args[0] + ":0"
	var record map[string]any
	if err := json.Unmarshal(values[key], &record); err != nil || notice != "" {
		ts.Fatalf("the ledger has no %s: %v %s", key, err, notice)
	}
	unit := record["unit"].(map[string]any)
	due, err := time.Parse(time.RFC3339Nano, fmt.Sprint(unit["run_at"]))
	ts.Check(err)
	unit["run_at"] = due.Add(-24 * time.Hour)
	value, err := json.Marshal(record)
	ts.Check(err)
	l.Put(key, value)
	ts.Check(l.Commit())
}
