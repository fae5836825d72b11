package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
			socket := filepath.Join(state(f), "tend.sock")
			client := unixClient(socket, f.timeout)
			return socket, func() error {
				resp, err := client.Get("http://tend/v1/programs")
				return answered(resp, err, `"name"`, len(f.programs))
			}
		},
	}
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
