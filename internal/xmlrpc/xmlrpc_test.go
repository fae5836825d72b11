package xmlrpc

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func callOf(values string) string {
	return "<methodCall><methodName>m</methodName><params>" + values + "</params></methodCall>"
}

func param(value string) string { return "<param><value>" + value + "</value></param>" }

func TestDecodeCall(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []any
	}{
		{"all types", "<?xml version='1.0'?>\n" + callOf(param("<int>-5</int>")+param("<i4> 7 </i4>")+param("<boolean>1</boolean>")+param("<boolean>0</boolean>")+
			param("<string>a b</string>")+param("<string/>")+param("<double>-1.5e3</double>")+param("<dateTime.iso8601>20261123T01:02:03</dateTime.iso8601>")+
			param("<base64>aGk\n K</base64>")+param("untyped")+param("")+param("  ")+param("<nil/>")),
			[]any{-5, 7, true, false, "a b", "", -1500.0, time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC), "hi\n", "untyped", "", "  ", nil}},
		{"array and struct", callOf(param("<array><data><value>a</value><value><array><data/></array></value></data></array>") +
			param("<struct><member><name>n</name><value><int>1</int></value></member><member><name/><value/></member></struct>")),
			[]any{[]any{"a", []any{}}, Struct{{"n", 1}, {"", ""}}}},
		{"no params", "<methodCall><methodName>m</methodName></methodCall>", nil},
		{"params first", "<methodCall><params></params><methodName>m</methodName></methodCall>", nil},
		{"blanks, comments, instructions", "\n<!-- a - b --><?p q?><methodCall >\t<methodName>m</methodName\n> <!--x--><params><param>\n<value> <string>a<!-- b -->c</string> </value></param></params></methodCall >\n<!--end-->\n",
			[]any{"ac"}},
		{"attributes", `<methodCall xmlns:ex="http://x/&amp;" a='>'><methodName>m</methodName><params><param><value><string a="1" b = '2'>x</string></value></param></params></methodCall>`, []any{"x"}},
		{"references", callOf(param("<string>&lt;&gt;&amp;&quot;&apos;&#233;&#xE9;&#13;</string>")), []any{"<>&\"'éé\r"}},
		{"CDATA", callOf(param("<string>a<![CDATA[<b>&amp;]] ]]>c</string>")), []any{"a<b>&amp;]] c"}},
		{"ends of lines", callOf(param("<string>a\r\nb\rc\n</string>")), []any{"a\nb\nc\n"}},
		{"UTF-8 and a mark of byte order", "\uFEFF<?xml version=\"1.0\" encoding=\"UTF-8\"?>" + callOf(param("zażółć 🦊")), []any{"zażółć 🦊"}},
		{"Latin-1", "<?xml version='1.0' encoding='ISO-8859-1' standalone='yes'?>" + callOf(param("\xe9\xff")), []any{"éÿ"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			call, err := DecodeCall(strings.NewReader(c.text), CallLimits)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&Call{"m", c.want}, call); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeCallErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "line 1: the text ends before methodCall"},
		{"hello", `text "hello" where an element should be`},
		{"<methodCall>", "the text ends before methodName"},
		{"<methodCall><methodName>x", "the text ends before the end of methodName"},
		{"\n\n<methodResponse/>", `line 3: element "methodResponse", not methodCall`},
		{"<methodCall><params></params></methodCall>", "the call names no method"},
		{"<methodCall><methodName></methodName></methodCall>", "the call names no method"},
		{"<methodCall><methodName>m</methodName><methodName>m</methodName></methodCall>", "once"},
		{"<methodCall><methodName>m</methodName><params/><params/></methodCall>", "once"},
		{"<methodCall><methodName>m</methodName></methodCall>x", `text "x"`},
		{"<methodCall><methodName>m</methodName></methodCall><a/>", `element "a", not the end of the text`},
		{"<methodCall><methodName>m<b/></methodName></methodCall>", `element "b", not the end of methodName`},
		{"<methodCall></methodName>", `end of "methodName"`},
		{callOf("<param></param>"), `end of "param", not value`},
		{callOf("<param><value/><value/></param>"), `element "value", not the end of param`},
		{callOf("<value/>"), `element "value", not param`},
		{callOf(param("<int>x</int>")), `"x" is no int`},
		{callOf(param("<int/>")), `"" is no int`},
		{callOf(param("<int>99999999999999999999</int>")), "is no int"},
		{callOf(param("<boolean>2</boolean>")), `"2" is no boolean`},
		{callOf(param("<double>inf</double>")), `"inf" is no double`},
		{callOf(param("<double>1e999</double>")), "is no double"},
		{callOf(param("<double>0x1p3</double>")), "is no double"},
		{callOf(param("<base64>!</base64>")), "is no base64"},
		{callOf(param("<dateTime.iso8601>yesterday</dateTime.iso8601>")), "is no dateTime.iso8601"},
		{callOf(param("<nil>x</nil>")), "is no nil"},
		{callOf(param("<i8>5</i8>")), `"i8" is not a type of XML-RPC`},
		{callOf(param("a<int>5</int>")), "text beside the element"},
		{callOf(param("<int>5</int>a")), `text "a"`},
		{callOf(param("<int>5</int><int>5</int>")), `element "int", not the end of value`},
		{callOf(param("<array></array>")), `end of "array", not data`},
		{callOf(param("<array><data>x</data></array>")), `text "x"`},
		{callOf(param("<struct><member><value/><name/></member></struct>")), `element "value", not name`},
		{callOf(param("<struct><member><name/></member></struct>")), `end of "member", not value`},
		{callOf(param("<string>\x1b[0m</string>")), "character 0x1b is not allowed in XML"},
		{callOf(param("\xff")), "not UTF-8"},
		{callOf(param("\uFFFE")), "U+FFFE"},
		{callOf(param("&#27;")), "&#27; is not known"},
		{callOf(param("&#xD800;")), "is not known"},
		{callOf(param("&#-1;")), "is not known"},
		{callOf(param("&lol;")), "&lol; is not known"},
		{callOf(param("a & b")), "& is not the beginning of a reference"},
		{callOf(param("a < b")), "< is not the beginning of a tag"},
		{callOf(param("]]>")), "]]> in text"},
		{callOf(param("<string a=1>x</string>")), "has no quotes"},
		{callOf(param("<string a>x</string>")), "has no value"},
		{callOf(param("<string a='1'b='2'>x</string>")), "doesn't end"},
		{callOf(param("<string a='<'>x</string>")), "< in the value"},
		{`<!DOCTYPE m [<!ENTITY a "b">]>` + callOf(param("&a;")), "a document type is not allowed"},
		{"<?xml version='1.0' encoding='UTF-16'?>" + callOf(""), `encoding "utf-16" is not known`},
		{"<?xml version='1.0'", "the XML declaration doesn't end"},
		{" <?xml version='1.0'?>" + callOf(""), "where none may be"},
		{"<!-- a -- b -->" + callOf(""), "a comment doesn't end"},
		{"<!-->" + callOf(""), "a comment doesn't end"},
		{"<![CDATA[" + callOf(""), "a CDATA section doesn't end"},
		{"<?p" + callOf(""), "a processing instruction doesn't end"},
		{"</" + callOf(""), "a closing tag without its name"},
	} {
		call, err := DecodeCall(strings.NewReader(c.text), CallLimits)
		if err == nil {
			t.Errorf("%s is read as %v", c.text, call)
		} else if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot read the call: ") {
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	nested := func(n int) string {
		return callOf(param(strings.Repeat("<array><data><value>", n) + strings.Repeat("</value></data></array>", n)))
	}
	structs := func(n int) string {
		return callOf(param(strings.Repeat("<struct><member><name/><value>", n) + strings.Repeat("</value></member></struct>", n)))
	}
	for _, c := range []struct {
		name, text string
		limits     Limits
		ok         bool
	}{
		{"bytes", callOf(""), Limits{int64(len(callOf(""))), 9, 9}, true},
		{"a byte more", callOf("") + "\n", Limits{int64(len(callOf(""))), 9, 9}, false},
		{"depth", nested(3), Limits{1 << 20, 3, 9}, true},
		{"deeper", nested(4), Limits{1 << 20, 3, 9}, false},
		{"deeper structs", structs(4), Limits{1 << 20, 3, 99}, false},
		{"side by side", callOf(param("<array><data/></array>") + param("<array><data/></array>")), Limits{1 << 20, 1, 9}, true},
		{"values", callOf(strings.Repeat(param(""), 9)), Limits{1 << 20, 3, 9}, true},
		{"more values", callOf(strings.Repeat(param(""), 10)), Limits{1 << 20, 3, 9}, false},
		{"names are values", callOf(param("<struct>" + strings.Repeat("<member><name/><value/></member>", 5) + "</struct>")), Limits{1 << 20, 3, 9}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeCall(strings.NewReader(c.text), c.limits)
			if c.ok && err != nil || !c.ok && !errors.Is(err, ErrLimit) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestMemory: what is as bad as the limits allow takes no more than a few times
// their size.
func TestMemory(t *testing.T) {
	for _, text := range []string{
		callOf(param(strings.Repeat("<array><data><value>", 200000))),
		callOf(strings.Repeat("<param><value/></param>", 180000)),
		callOf(strings.Repeat("<param", 600000)),
		"<methodCall" + strings.Repeat(" a=''", 800000) + ">",
		callOf(param(strings.Repeat("&amp;", 800000))),
		callOf(param(strings.Repeat("a<!---->", 500000))),
		callOf(param(strings.Repeat("<![CDATA[a]]>", 300000))),
		"<?xml encoding='latin1'?>" + callOf(param(strings.Repeat("\xe9", 4000000))),
		strings.Repeat("<", 4<<20),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := DecodeCall(strings.NewReader(text), CallLimits)
		runtime.ReadMemStats(&after)
		taken := after.TotalAlloc - before.TotalAlloc
		if taken > 24*uint64(CallLimits.Bytes) {
			t.Errorf("%.30q: %d MB (%v)", text, taken>>20, err)
		}
	}
}

func TestEncode(t *testing.T) {
	// The bytes are those that Python's xmlrpc.client gives.
	got, err := EncodeResponse([]any{true, -1, "a<b>&\"'é\t\n", []any{}, Struct{{"k&", "v"}}})
	want := "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><array><data>\n" +
		"<value><boolean>1</boolean></value>\n<value><int>-1</int></value>\n<value><string>a&lt;b&gt;&amp;\"'é\t\n</string></value>\n" +
		"<value><array><data>\n</data></array></value>\n<value><struct>\n<member>\n<name>k&amp;</name>\n<value><string>v</string></value>\n</member>\n</struct></value>\n" +
		"</data></array></value>\n</param>\n</params>\n</methodResponse>\n"
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, cmp.Diff(want, string(got)))
	}
	if got, err := EncodeResponse("a\x1b\xff\u00e9\uffff\x00"); err != nil || !strings.Contains(string(got), "<string>a\uFFFD\uFFFD\u00e9\uFFFD\uFFFD</string>") {
		t.Errorf("what XML hasn't is written as %s, %v", got, err)
	}
	loop := []any{nil}
	loop[0] = loop
	for _, v := range []any{nil, 1.5, time.Now(), []byte("x"), int64(1), map[string]any{}, 1 << 31, -1<<31 - 1, loop, Struct{{"a", []any{nil}}}} {
		if got, err := EncodeResponse(v); err == nil {
			t.Errorf("%T is written as %s", v, got)
		}
	}
	var tooLarge *RangeError
	if _, err := EncodeCall("m", 1<<40); !errors.As(err, &tooLarge) || tooLarge.Int != 1<<40 {
		t.Errorf("a large number: %v", err)
	}
	if got := EncodeFault(&Fault{1 << 40, "x"}); !strings.Contains(string(got), "<int>30</int>") {
		t.Errorf("a fault that can't be: %s", got)
	}
}

func TestDecodeResponse(t *testing.T) {
	if v, err := DecodeResponse(strings.NewReader("<methodResponse><params><param><value>a\x1b[1m\xff</value></param></params></methodResponse>"), AnswerLimits); err != nil || v != "a\x1b[1m\uFFFD" {
		t.Errorf("a log with colours: %q, %v", v, err)
	}
	_, err := DecodeResponse(strings.NewReader(string(EncodeFault(NewFault(BadName, "nope")))), AnswerLimits)
	var fault *Fault
	if !errors.As(err, &fault) || *fault != (Fault{10, "BAD_NAME: nope"}) || err.Error() != "fault 10: BAD_NAME: nope" {
		t.Errorf("a fault: %v", err)
	}
	if f := NewFault(4711, ""); f.Text != "UNKNOWN" {
		t.Errorf("an unknown fault: %v", f)
	}
	for _, text := range []string{
		"<html>", "<methodCall/>", "<methodResponse></methodResponse>", "<methodResponse><params></params></methodResponse>",
		"<methodResponse><params><param><value/></param><param><value/></param></params></methodResponse>",
		"<methodResponse><fault><value>x</value></fault></methodResponse>",
		"<methodResponse><fault><value><struct><member><name>faultCode</name><value>x</value></member></struct></value></fault></methodResponse>",
		"<methodResponse><fault/></methodResponse>", "<methodResponse><params><param><value/></param></params><fault/></methodResponse>",
		"<methodResponse><params><param><value/></param></params></methodResponse>x",
	} {
		if v, err := DecodeResponse(strings.NewReader(text), AnswerLimits); err == nil || !strings.HasPrefix(err.Error(), "cannot read the answer: ") {
			t.Errorf("%s is read as %v, %v", text, v, err)
		}
	}
}

func TestStructGet(t *testing.T) {
	s := Struct{{"a", 1}, {"b", 2}, {"a", 3}}
	if v, ok := s.Get("a"); v != 3 || !ok {
		t.Errorf("the last one counts: %v", v)
	}
	if v, ok := s.Get("c"); v != nil || ok {
		t.Errorf("there is none: %v", v)
	}
}

func BenchmarkDecodeResponse(b *testing.B) {
	var list []any
	for i := range 1000 {
		list = append(list, Struct{{"name", fmt.Sprint("program", i)}, {"group", "g"}, {"start", 1795395632}, {"state", 20}, {"statename", "RUNNING"}, {"description", "pid 1, uptime 0:00:01"}})
	}
	text, err := EncodeResponse(list)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := DecodeResponse(strings.NewReader(string(text)), AnswerLimits); err != nil {
			b.Fatal(err)
		}
	}
}
