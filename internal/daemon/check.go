package daemon

import (
	"os"
	"path/filepath"

	"tend/api"
	"tend/internal/conf"
	"tend/internal/spec"
)

// Find returns the configuration at path, or the one that is found by the order
// of places where path is "".
func Find(path string) (string, error) {
	if path != "" {
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	found, err := conf.Find(dir, os.Getenv, os.Geteuid() == 0)
	if err != nil {
		return "", err
	}
	// People read this path in messages: as short as they would write it.
	if rel, err := filepath.Rel(dir, found); err == nil && filepath.IsLocal(rel) {
		return rel, nil
	}
	return found, nil
}

// Check loads the configuration at path ("" is searched for) as a daemon would,
// starts nothing, and returns what was understood.
func Check(path string) (*api.Check, error) {
	path, err := Find(path)
	if err != nil {
		return nil, err
	}
	r := conf.Load(conf.Options{Path: path, Environ: os.Environ(), Root: os.Geteuid() == 0})
	check := &api.Check{OK: r.OK(), Files: r.Files, Diagnostics: diagnosticsView(r), Programs: []map[string]any{}}
	if r.OK() {
		for _, p := range r.Set.Programs {
			for i := range p.Instances {
				check.Programs = append(check.Programs, checked(p, i))
			}
		}
	}
	return check, nil
}

// checked is what is printed of one instance: every effective key, and what its
// command comes to.
func checked(p *spec.Program, i int) map[string]any {
	instance := p.Instance(i)
	m := effective(instance)
	name := spec.InstanceName(p.Name, i, p.Instances)
	group, process := p.GroupOf(name)
	m["name"], m["program"], m["group"], m["process"] = name, p.Name, group, process
	m["argv"] = instance.Command.Args()
	return m
}

// StateDir returns the folder in which a daemon of the configuration at path
// keeps its socket, where nothing else says so.
func StateDir(path string) (string, error) {
	path, err := Find(path)
	if err != nil {
		return "", err
	}
	var settings spec.Daemon
	if r := conf.Load(conf.Options{Path: path, Environ: os.Environ(), Root: os.Geteuid() == 0}); r.OK() {
		settings = r.Set.Daemon
	}
	p, err := choosePlace(Options{Config: path}, settings)
	if err != nil {
		return "", err
	}
	return filepath.Clean(p.state), nil
}
