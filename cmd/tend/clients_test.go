package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestClients has clients that exist talk to tend, and where it is installed to
// the real supervisord: what they print is the same.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time, with interpreters")
	}
	t.Parallel()
	const config = servers + `
[inet_http_server]
port = 127.0.0.1:{PORT}
username = me
password = foobar
[program:talker]
command = sh -c "echo 'out <1> & ż'; exec sleep 1000"
stdout_logfile = %(here)s/talker.log
[program:idle]
command = sleep 1000
autostart = false
startsecs = 0
[program:a]
command = sleep 1000
[group:grp]
programs = a
`
	peers := []*peer{startCtlPeer(t, false, config)}
	if _, err := os.Stat("/usr/bin/supervisord"); err == nil {
		peers = append(peers, startCtlPeer(t, true, config))
	}
	for _, p := range peers {
		p.await("success: talker ", "success: a ")
	}
	clients, err := filepath.Abs(filepath.Join("testdata", "clients"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, program, file, needs string
		prepare                    func(t *testing.T, dir string) // makes what it needs in dir, where it is run
	}{
		{"python", "python3", "client.py", "import supervisor", nil},
		{"ruby", "ruby", "client.rb", `require "xmlrpc/client"`, nil},
		{"php", "php", "client.php", "", nil},
		{"node", "node", "node/client.js", "", nodeModules},
	} {
		t.Run(c.name, func(t *testing.T) {
			program, err := exec.LookPath(c.program)
			if err != nil {
				t.Skipf("%s isn't installed: scripts/test-packages installs what the tests can use", c.program)
			}
			switch c.name {
			case "python":
				if program = "/usr/bin/python3"; exec.Command(program, "-c", c.needs).Run() != nil {
					t.Skip("the package supervisor isn't installed")
				}
			case "ruby":
				if exec.Command(program, "-e", c.needs).Run() != nil {
					t.Skip("the package ruby-xmlrpc isn't installed")
				}
			case "php":
				if modules, _ := exec.Command(program, "-m").Output(); !strings.Contains(string(modules), "curl") || !strings.Contains(string(modules), "SimpleXML") {
					t.Skip("the package php-curl isn't installed, or SimpleXML, which is in php-xml")
				}
			}
			dir := t.TempDir()
			file := filepath.Join(clients, c.file)
			if c.prepare != nil {
				c.prepare(t, dir)
				file = filepath.Join(dir, filepath.Base(c.file))
			}
			var said []string
			for _, p := range peers {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				cmd := exec.CommandContext(ctx, program, file, filepath.Join(p.dir, "s.sock"), strconv.Itoa(p.port))
				cmd.Dir, cmd.Env = dir, p.environ()
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.HasSuffix(string(out), "done\n") {
					t.Fatalf("with %s: %v\n%s", p, err, out)
				}
				said = append(said, p.mask(string(out)))
			}
			for _, text := range []string{"60", "ALREADY_STARTED: idle", "BAD_NAME: nope", "out <1> & ż", "RUNNING"} {
				if !strings.Contains(said[0], text) {
					t.Errorf("it doesn't say %q:\n%s", text, said[0])
				}
			}
			if len(said) > 1 && said[0] != said[1] {
				t.Errorf("with tend:\n%s\nwith supervisord:\n%s", said[0], said[1])
			}
		})
	}
	t.Run("node_exporter", func(t *testing.T) { testExporter(t, peers) })
}

// nodeModules installs what the lock file of the client in Node names.
func nodeModules(t *testing.T, dir string) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm isn't installed: scripts/test-packages installs what the tests can use")
	}
	for _, name := range []string{"package.json", "package-lock.json", "client.js"} {
		text, err := os.ReadFile(filepath.Join("testdata", "clients", "node", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("npm can't get the package xmlrpc: %v\n%s", err, out)
	}
}

// testExporter has the collector supervisord of Prometheus' node_exporter look at
// all peers. Where the exporter is, TEND_TEST_NODE_EXPORTER says, which
// scripts/test-packages can build.
func testExporter(t *testing.T, peers []*peer) {
	exporter := os.Getenv("TEND_TEST_NODE_EXPORTER")
	if exporter == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skip("no node_exporter: " + err.Error())
		}
		exporter = filepath.Join(cache, "tend-test", "node_exporter")
	}
	if _, err := os.Stat(exporter); err != nil {
		t.Skip("node_exporter isn't built: scripts/test-packages does that")
	}
	metric := regexp.MustCompile(`(?m)^node_supervisord_(?:state|up)\{.*$`)
	var said []string
	for _, p := range peers {
		port := freePort(t)
		cmd := exec.Command(exporter, "--collector.disable-defaults", "--collector.supervisord",
			"--collector.supervisord.url=unix://"+filepath.Join(p.dir, "s.sock"), fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))
		var log strings.Builder
		stderr, err := cmd.StderrPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stderr)
		up := false
		for !up && lines.Scan() {
			fmt.Fprintln(&log, lines.Text())
			up = strings.Contains(lines.Text(), "Listening on")
		}
		var found []string
		if up {
			found = scrape(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), metric)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if !up || len(found) == 0 {
			t.Fatalf("node_exporter says nothing of %s:\n%s", p, &log)
		}
		said = append(said, strings.Join(found, "\n"))
	}
	if !strings.Contains(said[0], `name="talker"`) {
		t.Errorf("nothing is said of talker:\n%s", said[0])
	}
	if len(said) > 1 && said[0] != said[1] {
		t.Errorf("of tend:\n%s\nof supervisord:\n%s", said[0], said[1])
	}
}

// scrape gets the metrics at an address, and of them those that match.
func scrape(t *testing.T, address string, metric *regexp.Regexp) []string {
	t.Helper()
	answer, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var found []string
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if metric.MatchString(lines.Text()) {
			found = append(found, lines.Text())
		}
	}
	slices.Sort(found)
	return found
}
