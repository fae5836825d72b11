package supervisord

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"tend/internal/svconf"
)

// A Login is the user and password that a server asks for.
type Login struct {
	Username string
	Password string // clear, or {SHA} and the digits of its SHA-1 sum
}

// LoginOf returns the login of a server in a configuration, nil if it has none.
// An empty name of a user asks for none either.
func LoginOf(server svconf.Server) *Login {
	if server.Username == nil || *server.Username == "" {
		return nil
	}
	l := &Login{Username: *server.Username}
	if server.Password != nil {
		l.Password = *server.Password
	}
	return l
}

// check returns 0 for a request that may pass, or the status of the answer to one
// that may not.
func (l *Login) check(q *request) int {
	if l == nil {
		return 0
	}
	scheme, cookie, _ := strings.Cut(q.login, " ")
	if !q.hasLogin || !strings.EqualFold(scheme, "basic") {
		return 401
	}
	// supervisord fails on what it can't decode, and says so.
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(cookie))
	user, password, ok := strings.Cut(string(text), ":")
	if err != nil || !ok {
		return 500
	}
	want := l.Password
	if digits, ok := strings.CutPrefix(want, "{SHA}"); ok {
		sum := sha1.Sum([]byte(password))
		want, password = digits, hex.EncodeToString(sum[:])
	}
	if !same(user, l.Username) || !same(password, want) {
		return 401
	}
	return 0
}

// same compares without telling by the time it takes where two texts differ, or
// how long they are.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
