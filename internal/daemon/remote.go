package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tend/internal/server"
	"tend/internal/spec"
)

// remote is the API on a network, where the settings ask for it.
type remote struct {
	server   *server.Server
	listener net.Listener
	settings spec.Daemon // that it was made of
	cert     *certificate
}

// keptRemote begins the name under which the listening socket is kept; the address
// follows.
const keptRemote = "remote "

// openRemote listens where the settings say, nowhere if they don't.
func (d *Daemon) openRemote(s spec.Daemon) (*remote, error) {
	if s.Listen == "" {
		return nil, nil
	}
	fail := func(err error) (*remote, error) { return nil, fmt.Errorf("cannot listen on %s: %w", s.Listen, err) }
	r := &remote{settings: s}
	if s.TLSCert != "" {
		r.cert = &certificate{certFile: s.TLSCert, keyFile: s.TLSKey, warn: func(err error) {
			d.post(func() { d.warnf("the certificate of before is used on: %v", err) })
		}}
		if _, err := r.cert.get(nil); err != nil {
			return fail(err)
		}
	}
	access, err := r.access(s)
	if err != nil {
		return fail(err)
	}
	if r.listener, err = d.listenTCP(s.Listen); err != nil {
		return nil, err
	}
	c := server.Config{Control: control{d}, Events: d.events, News: d.news, Metrics: d.metrics.Handler(), Access: access}
	if r.cert != nil {
		c.TLS = &tls.Config{GetCertificate: r.cert.get, MinVersion: tls.VersionTLS12}
	}
	r.server = server.New(c)
	go r.server.Serve(r.listener)
	return r, nil
}

// access returns who may do what, as the files say now.
func (r *remote) access(s spec.Daemon) (*server.Access, error) {
	a := &server.Access{Secure: r.cert != nil}
	if s.TokenFile != "" {
		var err error
		if a.Tokens, err = server.ReadTokens(s.TokenFile); err != nil {
			return nil, err
		}
	}
	if name, err := os.Hostname(); err == nil {
		a.Hosts = append(a.Hosts, name)
	}
	if r.cert != nil {
		a.Hosts = append(a.Hosts, r.cert.names()...)
	}
	return a, nil
}

// listenTCP listens on an address, with the socket of the daemon before us where
// that is kept: who connects while no daemon lives waits for the next one.
func (d *Daemon) listenTCP(address string) (net.Listener, error) {
	name := keptRemote + address
	if fd := d.takeKept(name); fd >= 0 {
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		if l, err := net.FileListener(f); err == nil {
			return l, nil
		}
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	if raw, err := l.(*net.TCPListener).SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { d.keep(name, int(fd)) })
	}
	return l, nil
}

// changeRemote brings the API on a network in line with the settings. What can't
// be done leaves it as it is, and is told.
func (d *Daemon) changeRemote(s spec.Daemon) {
	old := d.remote
	if old != nil && old.settings.Listen == s.Listen && old.settings.TLSCert == s.TLSCert && old.settings.TLSKey == s.TLSKey {
		access, err := old.access(s)
		if err != nil {
			d.warnf("the tokens of before are in force: %v", err)
			return
		}
		old.server.SetAccess(access)
		old.settings = s
		return
	}
	if old != nil && old.settings.Listen == s.Listen { // by the same socket, or the address would be in use
		f := old.socket()
		old.close()
		if d.remote = d.serveOn(f, s); d.remote == nil {
			d.remote = d.serveOn(f, old.settings)
		}
		f.Close() // which may be nil
		return
	}
	r, err := d.openRemote(s)
	if err != nil {
		d.warnf("%v", err)
		return
	}
	if old != nil {
		old.close()
		d.keeper.Drop(keptRemote + old.settings.Listen)
	}
	d.remote = r
}

// serveOn is openRemote on a socket that there is already. What can't be done is
// told.
func (d *Daemon) serveOn(f *os.File, s spec.Daemon) *remote {
	if f != nil {
		if fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3); err == nil {
			d.kept = map[string]int{keptRemote + s.Listen: fd}
			defer func() {
				if fd := d.takeKept(keptRemote + s.Listen); fd >= 0 { // nobody has
					unix.Close(fd)
				}
				d.kept = nil
			}()
		}
	}
	r, err := d.openRemote(s)
	if err != nil {
		d.warnf("%v", err)
	}
	return r
}

// close ends it. Streams end at once, answers under way have a moment: done is
// closed after that.
func (r *remote) close() (done <-chan struct{}) {
	r.listener.Close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		r.server.Shutdown(ctx)
	}()
	return over
}

// socket returns a descriptor of the listening socket, nil if there can't be one.
func (r *remote) socket() (f *os.File) {
	raw, err := r.listener.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	raw.Control(func(fd uintptr) {
		if fd, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3); err == nil {
			f = os.NewFile(uintptr(fd), keptRemote+r.settings.Listen)
		}
	})
	return f
}

// holdRemote ends the talk on a network but keeps its socket open, for whoever
// comes after: who connects waits. It returns the socket, nil where there is none.
func (d *Daemon) holdRemote(ctx context.Context) *os.File {
	if d.remote == nil {
		return nil
	}
	f := d.remote.socket()
	d.remote.server.Shutdown(ctx)
	return f
}

// resumeRemote goes on where holdRemote has ended it.
func (d *Daemon) resumeRemote(f *os.File) {
	if f != nil {
		d.remote = d.serveOn(f, d.remote.settings)
	}
}

// certificate is a certificate that is read again when its files have changed.
type certificate struct {
	certFile, keyFile string
	warn              func(error)

	mu     sync.Mutex
	loaded *tls.Certificate
	stamp  [2]unix.Stat_t
	looked time.Time
}

// lookAgain is how often the files are looked at, at most.
const lookAgain = time.Second

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.loaded != nil && now.Sub(c.looked) < lookAgain {
		return c.loaded, nil
	}
	c.looked = now
	var stamp [2]unix.Stat_t
	for i, file := range []string{c.certFile, c.keyFile} {
		unix.Stat(file, &stamp[i]) // a file that is gone is told of by the load
		stamp[i].Atim = unix.Timespec{}
	}
	if c.loaded != nil && stamp == c.stamp {
		return c.loaded, nil
	}
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		if c.loaded != nil && stamp != c.stamp {
			c.stamp = stamp
			c.warn(err)
		}
		if c.loaded != nil {
			return c.loaded, nil // half of a pair may be written already
		}
		return nil, err
	}
	c.loaded, c.stamp = &cert, stamp
	return c.loaded, nil
}

// names returns those for which the certificate was made.
func (c *certificate) names() []string {
	cert, err := c.get(nil)
	if err != nil {
		return nil
	}
	leaf := cert.Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil
		}
	}
	return leaf.DNSNames
}
