package conf

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"tend/internal/cron"
	"tend/internal/spec"
)

// checkValues finds values that somebody else will have to make sense of, and
// can't: URLs, addresses, regular expressions, schedules.
func checkValues(set *spec.Set) []spec.Problem {
	var problems []spec.Problem
	if err := checkListen(set.Daemon); err != nil {
		problems = append(problems, *err)
	}
	for _, p := range set.Programs {
		for _, v := range []struct {
			key, value, hint string
			check            func(string) error
		}{
			{"ready.http", p.Ready.HTTP, hintURL, checkURL},
			{"health.http", p.Health.HTTP, hintURL, checkURL},
			{"on_event.url", p.OnEvent.URL, "write it as https://example.com/hook", checkURL},
			{"ready.tcp", p.Ready.TCP, hintAddress, checkAddress},
			{"health.tcp", p.Health.TCP, hintAddress, checkAddress},
			{"ready.grpc", p.Ready.GRPC, hintAddress, checkService},
			{"health.grpc", p.Health.GRPC, hintAddress, checkService},
			{"ready.log", p.Ready.Log, "see the syntax of RE2", checkExpression},
			{"schedule", p.Schedule, `write it as "30 4 * * mon-fri", "@daily" or "@every 90m"`,
				func(s string) error { _, err := cron.Parse(s, p.Timezone); return err }},
		} {
			if v.value == "" {
				continue
			}
			if err := v.check(strings.ReplaceAll(v.value, spec.InstanceMark, "0")); err != nil {
				problems = append(problems, spec.Problem{Program: p.Name, Key: v.key, Message: err.Error(), Hint: v.hint})
			}
		}
		for _, globs := range []struct {
			key  string
			list []string
		}{{"watch", p.Watch}, {"watch_ignore", p.WatchIgnore}} {
			for _, g := range globs.list {
				if !doublestar.ValidatePathPattern(g) {
					problems = append(problems, spec.Problem{Program: p.Name, Key: globs.key, Message: fmt.Sprintf("%q is not a pattern", g), Hint: "use *, ?, [a-z], {a,b} and **"})
				}
			}
		}
	}
	return problems
}

const (
	hintURL     = "write it as http://127.0.0.1:8000/health"
	hintAddress = "write it as 127.0.0.1:8000 or unix:/run/x.sock"
)

func checkURL(s string) error {
	if u, err := url.Parse(s); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is not a URL to ask", s)
	}
	return nil
}

// checkListen checks that it is safe to listen on a network as the settings say:
// other machines are only let in with TLS and a token.
func checkListen(d spec.Daemon) *spec.Problem {
	if (d.TLSCert == "") != (d.TLSKey == "") {
		key := "tls_cert"
		if d.TLSCert == "" {
			key = "tls_key"
		}
		return &spec.Problem{Key: key, Message: "tls_cert and tls_key go together"}
	}
	if d.Listen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(d.Listen)
	if err != nil || port == "" {
		return &spec.Problem{Key: "listen", Message: fmt.Sprintf("%q is not an address", d.Listen), Hint: "write it as 127.0.0.1:8700"}
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost") || d.TLSCert != "" && d.TokenFile != "" {
		return nil
	}
	return &spec.Problem{Key: "listen", Message: "other machines reach this address: it needs tls_cert, tls_key and token_file", Hint: "or listen on 127.0.0.1, and let a proxy do it"}
}

// checkAddress checks host:port, or unix:PATH.
func checkAddress(s string) error {
	if path, unix := strings.CutPrefix(s, "unix:"); unix {
		if path == "" {
			return fmt.Errorf("%q has no path", s)
		}
		return nil
	}
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		return fmt.Errorf("%q is not an address", s)
	}
	return nil
}

// checkService checks an address with the name of a service behind it, or none.
func checkService(s string) error {
	if !strings.HasPrefix(s, "unix:") {
		s, _, _ = strings.Cut(s, "/")
	}
	return checkAddress(s)
}

func checkExpression(s string) error {
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Errorf("%q is not a regular expression: %w", s, err)
	}
	return nil
}
