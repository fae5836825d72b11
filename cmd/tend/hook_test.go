package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// webhook plays a server to which events are posted. It says its port into one
// pipe, and into another each request on a line: the event, whether the signature
// is that of the key "secret", and the body. The first request it refuses for now.
func webhook(port, requests string) {
	out, err := os.OpenFile(requests, os.O_RDWR, 0) // as its own reader, so that opening doesn't wait
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	_, number, _ := net.SplitHostPort(l.Addr().String())
	if err := os.WriteFile(port, []byte(number+"\n"), 0); err != nil {
		panic(err)
	}
	first := true
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		mac := hmac.New(sha256.New, []byte("secret"))
		mac.Write(body)
		signed := r.Header.Get("Tend-Signature") == fmt.Sprintf("sha256=%x", mac.Sum(nil))
		if first {
			first = false
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(out, "%s %v %s\n", r.Header.Get("Tend-Event"), signed, strings.TrimSpace(string(body)))
	})))
}
