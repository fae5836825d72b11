package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// supervisord is the Python daemon, with its defaults: output captured in files,
// stderr with stdout. minfds is what 1,000 programs need and no more, since it
// closes that many descriptors at each start of one.
func supervisord() *contender {
	file := func(f *fleet) string { return filepath.Join(f.dir, "supervisord.conf") }
	socket := func(f *fleet) string { return filepath.Join(f.dir, "s.sock") }
	write := func(f *fleet) error {
		var b strings.Builder
		fmt.Fprintf(&b, `[supervisord]
nodaemon=true
silent=true
user=root
logfile=%[1]s/supervisord.log
pidfile=%[1]s/supervisord.pid
childlogdir=%[1]s
minfds=%[3]d
[unix_http_server]
file=%[2]s
[supervisorctl]
serverurl=unix://%[2]s
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
`, f.dir, socket(f), max(1024, 4*len(f.programs)+200))
		for _, p := range f.programs {
			fmt.Fprintf(&b, "[program:%s]\ncommand=%s %s\nredirect_stderr=true\n", p.name(), f.probe, p.arg(f.board))
			if p.exits {
				// By default it gives up after three restarts.
				b.WriteString("startsecs=0\nautorestart=true\n")
			}
		}
		text := b.String()
		if os.Getuid() != 0 {
			text = strings.Replace(text, "user=root\n", "", 1)
		}
		return os.WriteFile(file(f), []byte(text), 0o600)
	}
	ctl := func(verb string) func(f *fleet) []string {
		return func(f *fleet) []string { return []string{path("supervisorctl"), "-c", file(f), verb} }
	}
	return &contender{
		name: "supervisord",
		version: func() (string, error) {
			if err := needs("supervisord", "supervisorctl"); err != nil {
				return "", err
			}
			out, err := exec.Command("supervisord", "--version").Output()
			if err != nil {
				return "", fmt.Errorf("cannot run supervisord --version: %w", err)
			}
			return strings.TrimSpace(string(out)), nil
		},
		configure:     write,
		command:       func(f *fleet) []string { return []string{path("supervisord"), "-c", file(f)} },
		reconfigure:   func(f *fleet, _ int) error { return write(f) },
		reloadCommand: func(f *fleet, _ int) []string { return ctl("update")(f) },
		stop:          syscall.SIGTERM,
		statusCommand: ctl("status"),
		statusAPI: func(f *fleet) (string, func() error) {
			client := unixClient(socket(f), f.timeout)
			const call = `<?xml version="1.0"?><methodCall><methodName>supervisor.getAllProcessInfo</methodName><params/></methodCall>`
			return socket(f), func() error {
				resp, err := client.Post("http://supervisord/RPC2", "text/xml", strings.NewReader(call))
				return answered(resp, err, "<name>name</name>", len(f.programs))
			}
		},
	}
}
