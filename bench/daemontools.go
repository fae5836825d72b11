package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// runit and s6 are of one family: a folder for each program with a file "run",
// and a process that supervises each folder. Neither captures output unless a
// logger, a process more for each program, is set up; none is here.

func runit() *contender {
	return &contender{
		name: "runit",
		version: func() (string, error) {
			if err := needs("runsvdir", "runsv", "sv"); err != nil {
				return "", err
			}
			return packaged("runit"), nil
		},
		configure:   writeServices,
		command:     func(f *fleet) []string { return []string{path("runsvdir"), services(f)} },
		reconfigure: writeService,
		reloadCommand: func(f *fleet, slot int) []string {
			return []string{path("sv"), "restart", service(f, slot)}
		},
		stop: syscall.SIGHUP, // TERM would leave the programs, runsvdir(8)
		statusCommand: func(f *fleet) []string {
			argv := []string{path("sv"), "status"}
			for _, p := range f.programs {
				argv = append(argv, service(f, p.slot))
			}
			return argv
		},
	}
}

func s6() *contender {
	return &contender{
		name: "s6",
		version: func() (string, error) {
			if err := needs("s6-svscan", "s6-supervise", "s6-svc", "s6-svstat"); err != nil {
				return "", err
			}
			return packaged("s6"), nil
		},
		configure: writeServices,
		command: func(f *fleet) []string {
			// -c is the most services it takes, 500 otherwise.
			return []string{path("s6-svscan"), "-c", strconv.Itoa(len(f.programs) + 10), services(f)}
		},
		reconfigure: writeService,
		reloadCommand: func(f *fleet, slot int) []string {
			return []string{path("s6-svc"), "-r", service(f, slot)}
		},
		stop: syscall.SIGTERM,
		statusCommand: func(f *fleet) []string {
			// s6-svstat takes one service.
			return []string{"/bin/sh", "-c", `for d in "$1"/*; do s6-svstat "$d"; done`, "sh", services(f)}
		},
	}
}

func services(f *fleet) string { return filepath.Join(f.dir, "services") }

func service(f *fleet, slot int) string {
	return filepath.Join(services(f), f.programs[slot].name())
}

func writeServices(f *fleet) error {
	if err := os.Mkdir(services(f), 0o700); err != nil {
		return err
	}
	for _, p := range f.programs {
		if err := os.Mkdir(service(f, p.slot), 0o700); err != nil {
			return err
		}
		if err := writeService(f, p.slot); err != nil {
			return err
		}
	}
	return nil
}

// writeService writes "run" with the probe for its interpreter: no shell comes
// in between, which is faster than what users write. The file is replaced, as
// one that is open for writing can't be executed.
func writeService(f *fleet, slot int) error {
	run := filepath.Join(service(f, slot), "run")
	text := fmt.Sprintf("#!%s %s\n", f.probe, f.programs[slot].arg(f.board))
	if err := os.WriteFile(run+".new", []byte(text), 0o700); err != nil {
		return err
	}
	return os.Rename(run+".new", run)
}
