package cli

import (
	"os"
	"path/filepath"
	"strings"
)

const (
	stateFolder = ".tend"     // beside the configuration of one's own project
	systemState = "/run/tend" // of the machine's daemon
	socketName  = "tend.sock" // in the state folder
)

// A place is where a daemon is looked for.
type place struct {
	socket string
	shown  string // for people: the folder, or the socket that was asked for
}

// inState returns the place of a state folder.
func inState(folder string) place {
	return place{socket: filepath.Join(folder, socketName), shown: shortPath(folder)}
}

// place returns where the daemon is: --socket, --state, $TEND_SOCKET,
// $TEND_STATE, then .tend, or the only .tend-NAME with a socket, in this folder or
// the next one above that has it, then /run/tend.
//
// A .tend without a daemon is not passed over: who stands in a project means it.
func (a *app) place() place {
	if p, ok := a.namedPlace(); ok {
		return p
	}
	if dir, err := os.Getwd(); err == nil {
		for {
			p := filepath.Join(dir, stateFolder)
			if info, err := os.Stat(p); err == nil && info.IsDir() {
				return inState(p)
			}
			// That of a file of supervisord's with a name of its own, if it is the only one.
			if others, _ := filepath.Glob(filepath.Join(dir, stateFolder+"-*", socketName)); len(others) == 1 {
				return inState(filepath.Dir(others[0]))
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	p := inState(systemState)
	if _, err := os.Stat(systemState); err != nil {
		p.shown = "./" + stateFolder + " or " + systemState
	}
	return p
}

// namedPlace returns the place that the flags or the environment name.
func (a *app) namedPlace() (place, bool) {
	if a.socket != "" {
		return place{a.socket, shortPath(a.socket)}, true
	}
	if a.state != "" {
		return inState(a.state), true
	}
	if s := a.getenv("TEND_SOCKET"); s != "" {
		return place{s, shortPath(s)}, true
	}
	if s := a.getenv("TEND_STATE"); s != "" {
		return inState(s), true
	}
	return place{}, false
}

// shortPath returns path relative to this folder where that is shorter.
func shortPath(path string) string {
	if !filepath.IsAbs(path) {
		return path
	}
	dir, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || len(rel) >= len(path) {
		return path
	}
	if filepath.IsLocal(rel) && strings.HasPrefix(filepath.Base(rel), stateFolder) {
		return "./" + rel
	}
	return rel
}
