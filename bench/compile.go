package main

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed csrc
var sources embed.FS

// compile builds csrc/NAME.c into dir with the first set of flags that the
// machine's compiler ($CC, else cc) takes, and returns the program's path.
func compile(dir, name string, flagSets ...[]string) (string, error) {
	src, err := sources.ReadFile("csrc/" + name + ".c")
	if err != nil {
		return "", err
	}
	file, out := filepath.Join(dir, name+".c"), filepath.Join(dir, name)
	if err := os.WriteFile(file, src, 0o600); err != nil {
		return "", err
	}
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	var said []byte
	for _, flags := range flagSets {
		cmd := exec.Command(cc, append(flags, "-O2", "-o", out, file)...)
		if said, err = cmd.CombinedOutput(); err == nil {
			return out, nil
		}
	}
	return "", fmt.Errorf("cannot compile %s.c: %w\n%shint: install a C compiler (apt-get install gcc libc6-dev), or set CC", name, err, said)
}

// compileProbe builds the guarded program, without a C library where it can be.
func compileProbe(dir string) (string, error) {
	return compile(dir, "probe",
		[]string{"-DBARE", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector"},
		[]string{"-static"}, nil)
}

// compileLimit builds the program that all others are compared with.
func compileLimit(dir string) (string, error) {
	return compile(dir, "limit", []string{"-static"}, nil)
}

// buildTend builds cmd/tend as it is released, from the module in the current folder.
func buildTend(dir string) (string, error) {
	out := filepath.Join(dir, "tend")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "./cmd/tend")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build ./cmd/tend: %w\n%shint: run this in the module's root, or name a binary with -tend", err, said)
	}
	return out, nil
}
