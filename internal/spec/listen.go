package spec

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// An Endpoint is an entry of [Program.Listen].
type Endpoint struct {
	Name    string // for LISTEN_FDNAMES
	Network string // "tcp" or "unix"
	Address string // host:port, or an absolute path
}

// endpointExample is what messages say of the form.
const endpointExample = `write it as "127.0.0.1:8000", ":8000" or "/run/x.sock", with a name in front if it needs one: "http=:8000"`

// maxEndpointPath is what a socket's address has room for, see unix(7).
const maxEndpointPath = 107

// Endpoints returns what an instance listens on, in the order of Listen, which is
// that of the descriptors. A relative path is one in the program's directory, and
// a socket without a name has the program's.
func (p *Program) Endpoints() ([]Endpoint, error) {
	list := make([]Endpoint, 0, len(p.Listen))
	for _, s := range p.Listen {
		socket, err := parseEndpoint(s)
		if err != nil {
			return nil, err
		}
		if socket.Network == "unix" && !filepath.IsAbs(socket.Address) {
			socket.Address = filepath.Join(p.Directory, socket.Address)
		}
		if len(socket.Address) > maxEndpointPath && socket.Network == "unix" {
			return nil, fmt.Errorf("the path %q is longer than the %d bytes that an address has room for", socket.Address, maxEndpointPath)
		}
		if socket.Name == "" {
			socket.Name = p.Name
		}
		list = append(list, socket)
	}
	return list, nil
}

// parseEndpoint reads an entry of listen.
func parseEndpoint(s string) (Endpoint, error) {
	var socket Endpoint
	if name, rest, named := strings.Cut(s, "="); named && !strings.ContainsAny(name, "/:") {
		if name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return socket, fmt.Errorf("%q has no usable name in front", s)
		}
		socket.Name, s = name, rest
	}
	if strings.Contains(s, "/") {
		socket.Network, socket.Address = "unix", filepath.Clean(s)
		if strings.HasSuffix(s, "/") {
			return socket, fmt.Errorf("%q is a folder, not a socket", s)
		}
		return socket, nil
	}
	host, port := splitPort(s)
	if port == "" {
		return socket, fmt.Errorf("%q is not an address", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return socket, fmt.Errorf("%q has no port from 1 to 65535", s)
	}
	socket.Network, socket.Address = "tcp", host+":"+strconv.FormatUint(n, 10)
	return socket, nil
}

// splitPort returns the two parts of host:port; an address of IPv6 stands, and
// stays, in brackets. port is "" where s isn't of that form.
func splitPort(s string) (host, port string) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return "", ""
	}
	host, port = s[:colon], s[colon+1:]
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		inner, bracketed = strings.CutSuffix(inner, "]")
	}
	if !bracketed && strings.Contains(host, ":") || strings.ContainsAny(inner, "[] ") {
		return "", ""
	}
	return host, port
}

// checkEndpoints finds addresses that are none, and those that are wanted twice.
func checkEndpoints(s *Set, say func(p *Program, key, hint, format string, args ...any)) {
	type user struct {
		program *Program
		socket  Endpoint
	}
	users := make(map[string][]user) // by path or port
	for _, p := range s.Programs {
		if len(p.Listen) == 0 {
			continue
		}
		if p.Ready.FD.Set && p.Ready.FD.Value >= firstEndpoint && p.Ready.FD.Value < firstEndpoint+len(p.Listen) {
			say(p, "ready.fd", fmt.Sprintf("use %d", firstEndpoint+len(p.Listen)), "descriptor %d is one of listen", p.Ready.FD.Value)
		}
	instances:
		for i := range p.Instances {
			q := p.Instance(i)
			sockets, err := q.Endpoints()
			if err != nil {
				say(p, "listen", endpointExample, "%s", err)
				break
			}
			for n, socket := range sockets {
				place := socket.Address
				if socket.Network == "tcp" {
					_, place = splitPort(socket.Address)
				}
				for _, other := range users[place] {
					if other.program != p && overlap(other.socket, socket) {
						say(p, "listen", "let one of the two listen there", "%q listens on %s, too", other.program.Name, other.socket.Address)
						break instances
					}
				}
				for _, other := range sockets[:n] {
					if overlap(other, socket) {
						say(p, "listen", "drop one of them", "%s and %s are one place", other.Address, socket.Address)
						break instances
					}
				}
				users[place] = append(users[place], user{p, socket})
			}
			if q == p {
				break // all instances share the sockets
			}
		}
	}
}

// firstEndpoint is the descriptor of the first socket in a program.
const firstEndpoint = 3

// overlap reports whether two sockets can't be open at the same time.
func overlap(a, b Endpoint) bool {
	if a.Network != b.Network {
		return false
	}
	if a.Address == b.Address || a.Network == "unix" {
		return a.Address == b.Address
	}
	hostA, portA := splitPort(a.Address)
	hostB, portB := splitPort(b.Address)
	any := func(host string) bool { return host == "" || host == "0.0.0.0" || host == "[::]" }
	return portA == portB && (any(hostA) || any(hostB))
}
