package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestGarbage sends what no client would say to the servers of a supervisord.conf.
// The daemon answers on, is the same process, and holds no more memory than a
// fixed amount.
func TestGarbage(t *testing.T) {
	t.Parallel()
	p := startCtlPeer(t, false, servers+`
[inet_http_server]
port = 127.0.0.1:{PORT}
username = me
password = foobar
[program:talker]
command = sh -c "yes | head -c 1000000; exec sleep 1000"
startsecs = 0
`)
	p.await("success: talker ")
	daemon := func() string {
		pid, err := os.ReadFile(filepath.Join(p.dir, ".tend", "daemon.pid"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(pid))
	}
	before := daemon()
	login := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("me:foobar")) + "\r\n"
	post := func(body string) string {
		return fmt.Sprintf("POST /RPC2 HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", login, len(body), body)
	}
	call := func(method, params string) string {
		return post("<methodCall><methodName>" + method + "</methodName><params>" + params + "</params></methodCall>")
	}
	const size = 4 << 20 // as long as a request may be
	log := "<value><struct><member><name>methodName</name><value>supervisor.readProcessStdoutLog</value></member><member><name>params</name><value><array><data>" +
		"<value>talker</value><value><int>0</int></value><value><int>0</int></value></data></array></value></member></struct></value>"
	texts := []string{
		"", "\x00\xff\x00\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "GET", "GET / HTTP/9.9\r\n\r\n", strings.Repeat("\r\n", 5000),
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 1<<20), strings.Repeat("GET /nothing HTTP/1.1\r\n"+login+"\r\n", 500),
		"POST /RPC2 HTTP/1.1\r\n" + login + "Content-Length: 99999999999\r\n\r\n<", "POST /RPC2 HTTP/1.1\r\n" + login + "Transfer-Encoding: chunked\r\n\r\nffffffff\r\n",
		"GET /logtail/" + strings.Repeat("%00:", 1000) + " HTTP/1.1\r\n" + login + "\r\n",
		"GET /tail.html?processname=talker&limit=99999999999999999999 HTTP/1.1\r\n" + login + "\r\n",
		"POST /index.html?action=" + strings.Repeat("%3C", 2000) + " HTTP/1.1\r\n" + login + "Content-Length: 0\r\n\r\n",
		post(strings.Repeat("<value><array><data>", size/20)),
		post("<!DOCTYPE a [<!ENTITY a \"" + strings.Repeat("x", 1000) + "\">]><methodCall>" + strings.Repeat("&a;", 100000) + "</methodCall>"),
		call("supervisor.getProcessInfo", "<param><value>"+strings.Repeat("y", size-200)+"</value></param>"),
		call("supervisor."+strings.Repeat("x", 100000), ""),
		call("supervisor.startProcess", "<param><value><int>99999999999999999999</int></value></param>"),
		call("supervisor.readProcessStdoutLog", "<param><value>talker</value></param><param><value><int>-2147483648</int></value></param><param><value><int>0</int></value></param>"),
		call("system.multicall", "<param><value><array><data>"+strings.Repeat(log, 5000)+"</data></array></value></param>"),
	}
	noise := rand.NewChaCha8([32]byte{1})
	for range 10 {
		b := make([]byte, 1+noise.Uint64()%5000)
		_, _ = noise.Read(b)
		texts = append(texts, string(b), "POST /RPC2 HTTP/1.1\r\n"+login+string(b), post(string(b)))
	}
	socket := filepath.Join(p.dir, "s.sock")
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range texts {
				network, address := "unix", socket
				if (n+i)%2 == 0 {
					network, address = "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port))
				}
				c, err := net.Dial(network, address)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(c, texts[(n*7+i)%len(texts)]) // the daemon may have heard enough
				if n%3 != 0 {                                       // the others leave without a word
					if h, ok := c.(interface{ CloseWrite() error }); ok {
						_ = h.CloseWrite()
					}
					_, _ = io.Copy(io.Discard, c)
				}
				c.Close()
			}
		})
	}
	all.Wait()
	if answer := p.call("supervisor.getAPIVersion"); answer != "3.0" {
		t.Errorf("it answers %q", answer)
	}
	if after := daemon(); after != before {
		t.Errorf("the daemon was %s and is %s", before, after)
	}
	status, err := os.ReadFile("/proc/" + before + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		t.Fatalf("no VmHWM in\n%s", status)
	}
	peak, _ := strconv.Atoi(fields[0])
	t.Logf("%d requests; at most %d MB", 8*len(texts), peak>>10)
	if peak > 250<<10 && !testing.Short() { // the short tests run with the race detector, which takes its share
		t.Errorf("it took %d MB", peak>>10)
	}
}
