package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tend/api"
)

// underLoad is a tend that is asked for its programs every millisecond, over a
// connection of its own each time.
type underLoad struct {
	t       *testing.T
	ctx     context.Context
	bin     string
	client  *api.Client
	run     *exec.Cmd
	out     strings.Builder
	answers atomic.Int64
	enough  chan struct{}
	asked   chan error
}

func putUnderLoad(t *testing.T, file, config string) *underLoad {
	t.Helper()
	dir := t.TempDir()
	u := &underLoad{t: t, bin: filepath.Join(dir, "tend"), enough: make(chan struct{}), asked: make(chan error, 1)}
	self, err := os.Executable()
	u.must(err)
	u.must(os.Symlink(self, u.bin))
	u.must(os.WriteFile(filepath.Join(dir, file), []byte(config), 0o644))
	t.Cleanup(func() { killLeftovers(dir) })
	u.run = exec.Command(u.bin, "run", "-c", file)
	u.run.Dir, u.run.Env = dir, append(os.Environ(), "HOME="+dir)
	u.run.Stdout, u.run.Stderr = &u.out, &u.out
	u.must(u.run.Start())
	t.Cleanup(func() { u.run.Process.Kill() })
	socket := filepath.Join(dir, ".tend", "tend.sock")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	u.ctx = ctx
	if !awaitSocket(ctx, socket) {
		t.Fatalf("no daemon: %s", u.out.String())
	}
	u.client = api.Dial(socket)
	t.Cleanup(u.client.Close)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-u.enough:
				u.asked <- nil
				return
			case <-tick.C:
			}
			if err := ask(socket); err != nil {
				u.asked <- err
				return
			}
			u.answers.Add(1)
		}
	}()
	return u
}

func (u *underLoad) must(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

// daemon returns the daemon. An idle connection of the client's may be closed.
func (u *underLoad) daemon() *api.Daemon {
	u.t.Helper()
	for {
		d, err := u.client.Daemon(u.ctx)
		if errors.Is(err, io.EOF) {
			continue
		}
		u.must(err)
		return d
	}
}

func (u *underLoad) pids() string {
	u.t.Helper()
	list, err := u.client.Instances(u.ctx)
	u.must(err)
	var b strings.Builder
	for _, i := range list {
		fmt.Fprint(&b, i.Name, "=", i.PID, " ")
	}
	return b.String()
}

// end fails unless everybody had an answer, and ends tend.
func (u *underLoad) end() {
	u.t.Helper()
	close(u.enough)
	if err := <-u.asked; err != nil {
		u.t.Errorf("after %d answers: %v", u.answers.Load(), err)
	}
	u.run.Process.Signal(syscall.SIGTERM)
	if err := u.run.Wait(); err != nil {
		u.t.Errorf("%v: %s", err, u.out.String())
	}
}

// TestUpgradeUnderLoad: nobody sees a refused connection or a broken answer while
// the daemon is executed anew again and again.
func TestUpgradeUnderLoad(t *testing.T) {
	u := putUnderLoad(t, "tend.toml", "[p]\ncommand = [\"sleep\", \"1000\"]\ninstances = 50\nmin_uptime = \"0s\"\n")
	_, err := u.client.Act(u.ctx, "start", "p", api.Act{}) // answers when they run
	u.must(err)
	before := u.pids()
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		d := u.daemon()
		_, err := u.client.Upgrade(u.ctx, api.UpgradeOptions{Binary: u.bin})
		u.must(err)
		for now := d; now.Started.Equal(d.Started); now = u.daemon() {
			if now.UpgradeError != "" {
				t.Fatal(now.UpgradeError)
			}
		}
		if now := u.pids(); now != before {
			t.Fatalf("pids were %s\nand are %s", before, now)
		}
	}
	u.end()
}

// TestBeginAnewUnderLoad: nor does anybody when supervisord's reload stops everything
// and begins anew, with another daemon under the guard.
func TestBeginAnewUnderLoad(t *testing.T) {
	u := putUnderLoad(t, "supervisord.conf", "[supervisord]\n[program:a]\ncommand = sleep 1000\nstartsecs = 0\n")
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		d := u.daemon()
		u.must(u.run.Process.Signal(syscall.SIGHUP))
		for now := d; now.PID == d.PID; now = u.daemon() {
		}
	}
	u.end()
}

// ask asks for the programs with a connection of its own.
func ask(socket string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/programs HTTP/1.1\r\nHost: tend\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	var list []api.Instance
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil || r.StatusCode != http.StatusOK || len(list) == 0 {
		return fmt.Errorf("a broken answer: %s, %d instances, %v", r.Status, len(list), err)
	}
	return nil
}
