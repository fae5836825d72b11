package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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

// TestUpgradeUnderLoad: a client that asks every millisecond, with a connection of
// its own each time, sees no refused connection and no broken answer while the
// daemon is executed anew again and again.
func TestUpgradeUnderLoad(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "tend")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, bin); err != nil {
		t.Fatal(err)
	}
	config := "[p]\ncommand = [\"sleep\", \"1000\"]\ninstances = 50\nmin_uptime = \"0s\"\n"
	if err := os.WriteFile(filepath.Join(dir, "tend.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killLeftovers(dir) })
	run := exec.Command(bin, "run", "-c", "tend.toml")
	run.Dir, run.Env = dir, append(os.Environ(), "HOME="+dir)
	var out strings.Builder
	run.Stdout, run.Stderr = &out, &out
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer run.Process.Kill()
	socket := filepath.Join(dir, ".tend", "tend.sock")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if !awaitSocket(ctx, socket) {
		t.Fatalf("no daemon: %s", out.String())
	}

	c := api.Dial(socket)
	defer c.Close()
	if _, err := c.Act(ctx, "start", "p", api.Act{}); err != nil { // answers when they run
		t.Fatal(err)
	}

	var asked atomic.Int64
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				ended <- nil
				return
			case <-tick.C:
			}
			if err := ask(socket); err != nil {
				ended <- err
				return
			}
			asked.Add(1)
		}
	}()
	pids := func() string {
		list, err := c.Instances(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, i := range list {
			fmt.Fprint(&b, i.Name, "=", i.PID, " ")
		}
		return b.String()
	}
	before := pids()
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		d, err := c.Daemon(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Upgrade(ctx, api.UpgradeOptions{Binary: bin}); err != nil {
			t.Fatal(err)
		}
		for now := d; now.Started.Equal(d.Started); {
			if now, err = c.Daemon(ctx); err != nil && !errors.Is(err, io.EOF) { // an idle connection of the client's may be closed
				t.Fatal(err)
			} else if err != nil {
				now = d
			}
			if now.UpgradeError != "" {
				t.Fatal(now.UpgradeError)
			}
		}
		if now := pids(); now != before {
			t.Fatalf("pids were %s\nand are %s", before, now)
		}
	}
	close(done)
	if err := <-ended; err != nil {
		t.Errorf("after %d answers: %v", asked.Load(), err)
	}
	t.Logf("%d upgrades, %d answers", rounds, asked.Load())
	run.Process.Signal(syscall.SIGTERM)
	if err := run.Wait(); err != nil {
		t.Errorf("%v: %s", err, out.String())
	}
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
	answer, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(answer), "HTTP/1.1 200") || strings.Count(string(answer), `"state":"running"`) != 50 {
		return fmt.Errorf("a broken answer of %d bytes: %.100s", len(answer), answer)
	}
	return nil
}
