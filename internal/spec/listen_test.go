package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEndpoints(t *testing.T) {
	p := New("web")
	p.Directory = "/srv"
	p.Listen = []string{"127.0.0.1:80", ":081", "[::1]:82", "h=example.org:83", "/run/a=b.sock", "x=./c//d.sock", "run/e.sock"}
	want := []Endpoint{
		{"web", "tcp", "127.0.0.1:80"}, {"web", "tcp", ":81"}, {"web", "tcp", "[::1]:82"}, {"h", "tcp", "example.org:83"},
		{"web", "unix", "/run/a=b.sock"}, {"x", "unix", "/srv/c/d.sock"}, {"web", "unix", "/srv/run/e.sock"},
	}
	got, err := p.Endpoints()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for bad, want := range map[string]string{
		"": "not an address", "80": "not an address", "localhost": "not an address", "a:b:80": "not an address", ":0": "no port", ":65536": "no port", ":http": "no port",
		":-1": "no port", ":": "not an address", "[::1:80": "not an address", "::1]:80": "not an address", "[a[]:80": "not an address", "=:80": "no usable name", "a b=:80": "no usable name", "é=:80": "no usable name", "/run/": "folder", "x=": "not an address",
		"/" + strings.Repeat("x", 107): "longer than the 107 bytes",
	} {
		p.Listen = []string{bad}
		if got, err := p.Endpoints(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is read as %+v, error %v", bad, got, err)
		}
	}
}

// TestCheckEndpoints: no address is wanted twice.
func TestCheckEndpoints(t *testing.T) {
	prog := func(name string, listen ...string) *Program {
		p := New(name)
		p.Command.Shell, p.Directory, p.Listen = "run", "/srv", listen
		return p
	}
	many := prog("many", "127.0.0.1:900"+InstanceMark)
	many.Instances = 3
	shared := prog("shared", ":8000")
	shared.Instances, shared.Command.Shell = 3, "run "+InstanceMark
	fd := prog("fd", "/a.sock", "/b.sock")
	fd.Ready.FD = Some(4)
	twice := prog("twice", ":7000", "x=0.0.0.0:7000")
	s := &Set{Programs: []*Program{
		many, shared, fd, twice, prog("bad", "8000"),
		prog("one", "127.0.0.1:8000"), prog("two", "127.0.0.1:9001"), prog("three", "./b.sock", "[::1]:9001"), prog("four", "/srv/b.sock"), prog("five", "/a.sock"),
	}}
	var got []string
	for _, p := range Check(s) {
		got = append(got, p.Program+"|"+p.Key+"|"+p.Message+"|"+p.Hint)
	}
	want := []string{
		`fd|ready.fd|descriptor 4 is one of listen|use 5`,
		`twice|listen|:7000 and 0.0.0.0:7000 are one place|drop one of them`,
		`bad|listen|"8000" is not an address|` + endpointExample,
		`one|listen|"shared" listens on :8000, too|let one of the two listen there`,
		`two|listen|"many" listens on 127.0.0.1:9001, too|let one of the two listen there`,
		`four|listen|"three" listens on /srv/b.sock, too|let one of the two listen there`,
		`five|listen|"fd" listens on /a.sock, too|let one of the two listen there`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
