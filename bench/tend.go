package main

import (
	"bytes"
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
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tend is the supervisor of this module, with its defaults: guard and daemon,
// output captured in files. Only reload is manual, lest the watch on the file
// win over the command that is measured.
func tend(binary string) *contender {
	file := func(f *fleet) string { return filepath.Join(f.dir, "tend.toml") }
	state := func(f *fleet) string { return filepath.Join(f.dir, "state") }
	socket := func(f *fleet) string { return filepath.Join(state(f), "tend.sock") }
	write := func(f *fleet) error {
		var b strings.Builder
		b.WriteString("[tend]\nreload = \"manual\"\n")
		for _, p := range f.programs {
			fmt.Fprintf(&b, "\n[%s]\ncommand = [%q, %q]\n", p.name(), f.probe, p.arg(f.board))
			if p.exits {
				// By default the waits grow until there is no storm.
				b.WriteString("backoff = { initial = \"100ms\", max = \"100ms\", factor = 1.0, jitter = 0.0 }\n")
			}
		}
		if len(f.programs) == 0 {
			fmt.Fprintf(&b, "\n[none]\ncommand = [%q]\nenabled = false\n", f.probe)
		}
		return os.WriteFile(file(f), []byte(b.String()), 0o600)
	}
	return &contender{
		name: "tend",
		version: func() (string, error) {
			out, err := exec.Command(binary, "version").Output()
			if err != nil {
				return "", fmt.Errorf("cannot run %s version: %w", binary, err)
			}
			first, _, _ := strings.Cut(string(out), "\n")
			return strings.TrimSpace(strings.TrimPrefix(first, "tend ")), nil
		},
		configure: write,
		command: func(f *fleet) []string {
			return []string{binary, "run", "-c", file(f), "--state", state(f)}
		},
		reconfigure:  func(f *fleet, _ int) error { return write(f) },
		reloadSignal: func(f *fleet, _ int) error { return syscall.Kill(f.root, syscall.SIGHUP) },
		reloadCommand: func(f *fleet, _ int) []string {
			return []string{binary, "reload", "--state", state(f)}
		},
		stop: syscall.SIGTERM,
		statusCommand: func(f *fleet) []string {
			return []string{binary, "status", "--state", state(f)}
		},
		statusAPI: func(f *fleet) (string, func() error) {
			client := unixClient(socket(f), f.timeout)
			return socket(f), func() error {
				resp, err := client.Get("http://tend/v1/programs")
				return answered(resp, err, `"name"`, len(f.programs))
			}
		},
		survival: &survival{
			daemonPID: func(f *fleet) (int, error) {
				text, err := os.ReadFile(filepath.Join(state(f), "daemon.pid"))
				if err != nil {
					return 0, err
				}
				return strconv.Atoi(strings.TrimSpace(string(text)))
			},
			ask: func(f *fleet) error {
				return askOnce(f, socket(f), "/v1/daemon", nil)
			},
			running: func(f *fleet) (n int, err error) {
				var all []struct{ State string }
				err = askOnce(f, socket(f), "/v1/programs", &all)
				for _, i := range all {
					if i.State == "running" {
						n++
					}
				}
				return n, err
			},
			upgrade: func(f *fleet) []string {
				return []string{binary, "upgrade", "--state", state(f)}
			},
			// From the last word of the one to the first of the other that says that
			// it has taken over; its loop turns next.
			unguarded: func(f *fleet) (time.Duration, error) {
				var events []struct {
					Kind string
					At   time.Time
				}
				if err := askOnce(f, socket(f), "/v1/events?follow=0", &events); err != nil {
					return 0, err
				}
				var left, took time.Time
				for _, e := range events {
					switch e.Kind {
					case "daemon.stopping":
						left, took = e.At, time.Time{}
					case "daemon.adopted":
						took = e.At
					}
				}
				if left.IsZero() || !took.After(left) {
					return 0, errors.New("cannot tell for how long programs weren't guarded: the events don't say")
				}
				return took.Sub(left), nil
			},
		},
	}
}

// askOnce asks for the path over a connection of its own, and decodes the answer
// into out unless that is nil.
func askOnce(f *fleet, socket, path string, out any) error {
	client := unixClient(socket, f.timeout)
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://tend" + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("cannot get %s: %s: %.200s", path, resp.Status, body)
	case out != nil:
		return json.Unmarshal(body, out)
	}
	return nil
}

// unixClient returns an HTTP client whose every connection is to the socket.
func unixClient(socket string, timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

// answered reads an answer to its end; it must hold the mark once for each of n programs.
func answered(resp *http.Response, err error, mark string, n int) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot get the status: %s: %.200s", resp.Status, body)
	}
	if got := bytes.Count(body, []byte(mark)); got < n {
		return fmt.Errorf("cannot use the status: it tells of %d programs, not %d", got, n)
	}
	return nil
}
