package main

import (
	"maps"
	"os"
	"slices"
	"testing"

	"tend/internal/cli"
)

func TestSupervisordFlags(t *testing.T) {
	tests := []struct {
		args  []string
		given map[string]string
		idle  []string
		err   string
	}{
		{nil, map[string]string{}, nil, ""},
		{[]string{"-nc", "x.conf"}, map[string]string{"nodaemon": "", "configuration": "x.conf"}, nil, ""},
		{[]string{"-cx.conf", "--pidf=p", "--loglevel", "info"}, map[string]string{"configuration": "x.conf", "pidfile": "p", "loglevel": "info"}, nil, ""},
		{[]string{"-t", "-u", "www", "--minprocs=5"}, map[string]string{"strip_ansi": "", "user": "www", "minprocs": "5"}, nil, ""},
		{[]string{"--log", "x"}, nil, nil, "option --log not a unique prefix"},
		{[]string{"--logfile", "x"}, map[string]string{"logfile": "x"}, nil, ""},
		{[]string{"-x"}, nil, nil, "option -x not recognized"},
		{[]string{"--nope"}, nil, nil, "option --nope not recognized"},
		{[]string{"-c"}, nil, nil, "option -c requires argument"},
		{[]string{"--configuration"}, nil, nil, "option --configuration requires argument"},
		{[]string{"--nodaemon=yes"}, nil, nil, "option --nodaemon must not have an argument"},
		{[]string{"-c", "a", "-c", "b"}, nil, nil, "conflicting command line option '-c'"},
		{[]string{"-n", "a", "b"}, nil, nil, "positional arguments are not supported: ['a', 'b']"},
	}
	for _, test := range tests {
		c, err := parseSupervisord(test.args)
		switch {
		case test.err != "":
			if err == nil || err.Error() != test.err {
				t.Errorf("%q: error %v, want %s", test.args, err, test.err)
			}
		case err != nil:
			t.Errorf("%q: %v", test.args, err)
		case !maps.Equal(c.given, test.given) || !slices.Equal(c.idle, test.idle):
			t.Errorf("%q: %v, without effect %q", test.args, c.given, c.idle)
		}
	}
}

// What the guard starts mustn't be called supervisord, or it would take its
// arguments for supervisord's flags.
func TestDaemonName(t *testing.T) {
	was := os.Args
	defer func() { os.Args = was }()
	for name, want := range map[string]string{"/usr/bin/supervisord": "tend", "supervisorctl": "tend", "/opt/tend": "/opt/tend"} {
		os.Args = []string{name}
		got := daemonArgs(cli.RunOptions{Config: "x.conf", Supervisord: true, Override: []string{"pidfile=p"}})
		if !slices.Equal(got, []string{want, "run", "--as-supervisord", "--override", "pidfile=p", "--config", "x.conf"}) {
			t.Errorf("called %s: %q", name, got)
		}
	}
}
