package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdFreeport: freeport VAR puts an address of this machine on which nobody
// listens into VAR.
func cmdFreeport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Check(l.Close())
	ts.Setenv(args[0], l.Addr().String())
}

// cmdFetch: fetch STATUS METHOD URL [HEADER=VALUE …] asks a web server, whose
// certificate may be anybody's, and writes what it answers to the standard output.
// BODY=TEXT is the request's body.
func cmdFetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: fetch STATUS METHOD URL [HEADER=VALUE …]")
	}
	r, err := http.NewRequest(args[1], args[2], nil)
	ts.Check(err)
	for _, arg := range args[3:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "BODY":
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(value)), int64(len(value))
		case "Host":
			r.Host = value
		default:
			r.Header.Set(name, value)
		}
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(r)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s", body)
	if response.TLS != nil {
		fmt.Fprintf(ts.Stdout(), "\ncertificate of %v\n", response.TLS.PeerCertificates[0].DNSNames)
	}
	if got := fmt.Sprint(response.StatusCode); got != args[0] {
		ts.Fatalf("status %s, not %s: %s", got, args[0], body)
	}
}

// cmdCertificate: certificate NAME makes the files cert.pem and key.pem, for NAME.
func cmdCertificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: certificate NAME")
	}
	cert, key, err := selfSigned(args[0])
	ts.Check(err)
	replaceFile(ts, "key.pem", key)
	replaceFile(ts, "cert.pem", cert)
}

func replaceFile(ts *testscript.TestScript, name string, data []byte) {
	path := ts.MkAbs(name)
	ts.Check(os.WriteFile(path+".new", data, 0o600))
	ts.Check(os.Rename(path+".new", path))
}

// selfSigned makes a certificate for a name, and its key.
func selfSigned(name string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), nil
}

// cmdServed: served NAME ADDRESS waits until the certificate that is shown there is
// for NAME.
func cmdServed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: served NAME ADDRESS")
	}
	var last []string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		c, err := tls.Dial("tcp", args[1], &tls.Config{InsecureSkipVerify: true})
		ts.Check(err)
		last = c.ConnectionState().PeerCertificates[0].DNSNames
		c.Close()
		if len(last) == 1 && last[0] == args[0] {
			return
		}
	}
	ts.Fatalf("the certificate is for %v", last)
}
