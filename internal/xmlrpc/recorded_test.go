package xmlrpc

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recordings returns the folder of recorded exchanges, or skips the test: they
// are kept beside the project, not in it.
func recordings(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
	}
	folder := filepath.Join(filepath.Dir(dir), "shared", "supervisord", "xmlrpc")
	if _, err := os.Stat(folder); err != nil {
		t.Skipf("no recorded exchanges: %v", err)
	}
	return folder
}

// refused are the recorded requests that supervisord answered with 400, and
// wayward those that a program other than Python's client wrote, so that
// writing them again gives other bytes.
var (
	refused = []string{"180-http--no-method-name", "181-http--malformed-xml"}
	wayward = []string{"179-http--no-params-element", "184-http--i4-and-bare-string", "185-http--untyped-string", "186-http--nil-param", "187-http--base64-param"}
)

func named(file string, list []string) bool {
	for _, name := range list {
		if strings.HasPrefix(filepath.Base(file), name) {
			return true
		}
	}
	return false
}

// TestRecordedRequests reads all requests, and writes them again to the same
// bytes.
func TestRecordedRequests(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(recordings(t), "*.request.xml"))
	same := 0
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// Two requests on one connection are in one file.
		for i, one := range bytes.SplitAfter(body, []byte("</methodCall>\n")) {
			if i > 0 {
				if at := bytes.Index(one, []byte("<?xml")); at >= 0 {
					one = one[at:]
				} else {
					continue
				}
			}
			call, err := DecodeCall(bytes.NewReader(one), CallLimits)
			if named(file, refused) {
				if err == nil {
					t.Errorf("%s was read: %v", file, call)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if named(file, wayward) {
				continue
			}
			again, err := EncodeCall(call.Method, call.Params...)
			if err != nil || !bytes.Equal(again, one) {
				t.Errorf("%s is written again as\n%s\nnot\n%s\n%v", file, again, one, err)
			}
			same++
		}
	}
	if same < 200 {
		t.Errorf("only %d requests were read and written again", same)
	}
	t.Logf("%d requests are written again as they were", same)
}

// TestRecordedResponses is the same for answers, faults among them.
func TestRecordedResponses(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(recordings(t), "*.response.xml"))
	same, faults := 0, 0
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(body, []byte("<head>")) {
			continue
		}
		one, _, _ := bytes.Cut(body, []byte("HTTP/1.1 200 OK")) // the second on that connection
		value, err := DecodeResponse(bytes.NewReader(one), AnswerLimits)
		var fault *Fault
		var again []byte
		switch {
		case errors.As(err, &fault):
			again = EncodeFault(fault)
			faults++
			if _, known := faultNames[fault.Code]; !known || !strings.HasPrefix(fault.Text, faultNames[fault.Code]) {
				t.Errorf("%s: %v is not as its code says", file, fault)
			}
		case err != nil:
			t.Errorf("%s: %v", file, err)
			continue
		default:
			if again, err = EncodeResponse(value); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		if !bytes.Equal(again, one) {
			t.Errorf("%s is written again as\n%s\nnot\n%s", file, again, one)
		}
		same++
	}
	if same < 200 || faults < 50 {
		t.Errorf("only %d answers, %d of them faults, were read and written again", same, faults)
	}
	t.Logf("%d answers are written again as they were, %d of them faults", same, faults)
}
