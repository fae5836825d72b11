package main

import (
	"fmt"
	"strconv"
	"syscall"
)

// limit is what a supervisor can't be better than: see csrc/limit.c.
func limit(binary string) *contender {
	return &contender{
		name:      "limit",
		version:   func() (string, error) { return "vfork, exec and wait in C", nil },
		configure: func(*fleet) error { return nil },
		command: func(f *fleet) []string {
			return []string{binary, f.probe, f.board.dir, strconv.Itoa(len(f.programs))}
		},
		// It has no configuration: the fastest change is to end the program.
		reconfigure: func(*fleet, int) error { return nil },
		reloadSignal: func(f *fleet, slot int) error {
			if err := syscall.Kill(int(f.board.slots[slot].pid), syscall.SIGTERM); err != nil {
				return fmt.Errorf("cannot end a program: %w", err)
			}
			return nil
		},
		stop: syscall.SIGTERM,
	}
}
