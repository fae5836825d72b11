package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"tend/api"
)

// Access says who may do what over a network. The zero Access lets everybody who
// reaches the listener look, and nobody act: it is meant for listeners that only
// this machine reaches.
//
// A token comes in a header, "Authorization: Bearer TOKEN", or in a cookie that
// POST /v1/login sets. The cookie can't be read by scripts, isn't sent from other
// sites, and is refused all the same where a browser says that a request comes
// from one. Who guesses is made to wait.
type Access struct {
	// Tokens are those that are known, none for an Access without.
	Tokens []Token
	// Hosts are names by which this server is asked, beside addresses and
	// "localhost". Requests for others are refused: a page of somebody else's may
	// make its own name lead here (DNS rebinding).
	Hosts []string
	// Secure is set where the listener speaks TLS: the cookie is for that only.
	Secure bool

	origin   http.CrossOriginProtection
	failures failures
}

// A Token is what somebody shows to be let in.
type Token struct {
	Name string // whose it is
	Full bool   // may act; else look
	sum  [sha256.Size]byte
}

// cookieName is the name of the cookie that holds a token.
const cookieName = "tend_token"

// minToken is the length of the shortest token that can't be guessed.
const minToken = 16

// ReadTokens reads a file of tokens: a line each, with a name, what it may do (read
// or full) and the token, in blanks; # begins a comment. A file that others than
// its owner and group may read is refused.
func ReadTokens(path string) ([]Token, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the tokens: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read the tokens: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return nil, fmt.Errorf("cannot use the tokens of %s: everybody may read or write the file (chmod 600 %s)", path, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("cannot read the tokens: %w", err)
	}
	var tokens []Token
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		bad := func(why string) error { return fmt.Errorf("cannot use the tokens of %s: line %d: %s", path, n, why) }
		switch {
		case len(words) == 0:
			continue
		case len(words) != 3:
			return nil, bad("it should be a name, read or full, and a token")
		case words[1] != "read" && words[1] != "full":
			return nil, bad(strconv.Quote(words[1]) + " is neither read nor full")
		case len(words[2]) < minToken:
			return nil, bad(fmt.Sprintf("the token is shorter than %d characters (openssl rand -hex 16 makes one)", minToken))
		}
		tokens = append(tokens, Token{Name: words[0], Full: words[1] == "full", sum: sha256.Sum256([]byte(words[2]))})
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("cannot use the tokens of %s: there is none in it", path)
	}
	return tokens, nil
}

// find returns the token whose text is given. It takes as long for one that is
// nearly right as for any other.
func (a *Access) find(text string) (Token, bool) {
	sum := sha256.Sum256([]byte(text))
	var found Token
	ok := 0
	for _, t := range a.Tokens {
		if same := subtle.ConstantTimeCompare(sum[:], t.sum[:]); same == 1 {
			found, ok = t, 1
		}
	}
	return found, ok == 1
}

// grant returns what a request may do.
func (a *Access) grant(r *http.Request) (access, error) {
	if !a.hostOK(r.Host) {
		return open, &statusError{http.StatusMisdirectedRequest, &api.Error{Kind: api.KindForbidden, Message: fmt.Sprintf("this is not %s", r.Host),
			Hint: "ask for it by its address, or by a name of its certificate"}}
	}
	text, fromCookie := "", false
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		text = strings.TrimSpace(bearer)
	} else if c, err := r.Cookie(cookieName); err == nil {
		text, fromCookie = c.Value, true
	}
	if text == "" || fromCookie {
		// What a browser sends by itself isn't a wish of whoever sits there.
		if err := a.origin.Check(r); err != nil {
			return open, &api.Error{Kind: api.KindForbidden, Message: "this comes from a page of somebody else's"}
		}
	}
	switch {
	case len(a.Tokens) == 0:
		return read, nil
	case text == "":
		return open, nil
	}
	t, err := a.check(r, text)
	switch {
	case err != nil && fromCookie:
		return open, errStale
	case err != nil:
		return open, err
	case t.Full:
		return admin, nil
	}
	return read, nil
}

// errStale is what grant says of a cookie with a token that is gone: it is taken
// away, and the asker is nobody.
var errStale = errors.New("the cookie holds a token that is gone")

// check returns the token that somebody shows, unless it is wrong, or too many
// wrong ones came from there.
func (a *Access) check(r *http.Request, text string) (Token, error) {
	from := client(r)
	if wait := a.failures.wait(from); wait > 0 {
		return Token{}, &statusError{http.StatusTooManyRequests, &api.Error{Kind: api.KindForbidden,
			Message: "too many wrong tokens came from here", Hint: fmt.Sprintf("try again in %d s", int(wait.Seconds())+1)}}
	}
	t, ok := a.find(text)
	if !ok {
		a.failures.add(from)
		return Token{}, &statusError{http.StatusUnauthorized, &api.Error{Kind: api.KindForbidden, Message: "the token is wrong"}}
	}
	return t, nil
}

func client(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := a.Addr().Unmap()
	if addr.Is6() { // whoever has one of these has them all
		p, _ := addr.Prefix(64)
		return p.Addr()
	}
	return addr
}

// hostOK reports whether a request's Host is this server.
func (a *Access) hostOK(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	for _, name := range a.Hosts {
		if strings.EqualFold(host, name) {
			return true
		}
		if domain, ok := strings.CutPrefix(name, "*."); ok {
			if _, rest, dotted := strings.Cut(host, "."); dotted && strings.EqualFold(rest, domain) {
				return true
			}
		}
	}
	return false
}

// failures counts wrong tokens by where they came from.
type failures struct {
	mu   sync.Mutex
	from map[netip.Addr]*failure
	now  func() time.Time // nil: time.Now
}

type failure struct {
	count int
	last  time.Time
}

const (
	freeFailures = 5 // wrong tokens that cost no wait
	maxFailers   = 4096
	forgetAfter  = 10 * time.Minute
)

func (f *failures) time() time.Time {
	if f.now != nil {
		return f.now()
	}
	return time.Now()
}

// wait returns how long somebody has to wait before the next try: each wrong one
// beyond the first few doubles it, up to a minute.
func (f *failures) wait(from netip.Addr) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.from[from]
	now := f.time()
	if x == nil || x.count < freeFailures || now.Sub(x.last) > forgetAfter {
		return 0
	}
	pause := min(time.Second<<min(x.count-freeFailures, 6), time.Minute)
	return max(0, x.last.Add(pause).Sub(now))
}

func (f *failures) add(from netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.time()
	if f.from == nil {
		f.from = make(map[netip.Addr]*failure)
	}
	if len(f.from) >= maxFailers {
		for addr, x := range f.from {
			if now.Sub(x.last) > forgetAfter || len(f.from) >= maxFailers {
				delete(f.from, addr) // in no order: whoever comes from so many places isn't stopped by this
			}
		}
	}
	x := f.from[from]
	if x == nil || now.Sub(x.last) > forgetAfter {
		x = new(failure)
		f.from[from] = x
	}
	x.count++
	x.last = now
}

// login gives a browser the token that somebody typed, as a cookie.
func (s *Server) login(c *call) error {
	var in api.Login
	if err := c.body(&in); err != nil {
		return err
	}
	a := s.access.Load()
	if a == nil || len(a.Tokens) == 0 {
		return &api.Error{Kind: api.KindConflict, Message: "there are no tokens here"}
	}
	t, err := a.check(c.r, in.Token)
	if err != nil {
		return err
	}
	http.SetCookie(c.out, a.cookie(in.Token, 30*24*time.Hour))
	return c.out.json(http.StatusOK, api.Access{Name: t.Name, Read: true, Act: t.Full})
}

// logout takes the cookie away.
func (s *Server) logout(c *call) error {
	if a := s.access.Load(); a != nil {
		http.SetCookie(c.out, a.cookie("", -time.Second))
	}
	return c.out.json(http.StatusOK, struct{}{})
}

func (a *Access) cookie(token string, age time.Duration) *http.Cookie {
	return &http.Cookie{Name: cookieName, Value: token, Path: "/", MaxAge: int(age.Seconds()), HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: a.Secure}
}

// whoAmI answers with what somebody may do.
func (s *Server) whoAmI(c *call) error {
	v := api.Access{Read: c.granted >= read, Act: c.granted >= write}
	if a := s.access.Load(); a != nil && len(a.Tokens) > 0 {
		v.Login = true
		if cookie, err := c.r.Cookie(cookieName); err == nil {
			if t, ok := a.find(cookie.Value); ok {
				v.Name = t.Name
			}
		}
	}
	return c.out.json(http.StatusOK, v)
}
