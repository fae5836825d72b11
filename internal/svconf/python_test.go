package svconf

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// pythonDriver answers for each line [KIND, TEXT] with a line [OK, RESULT].
const pythonDriver = `
import sys, json, shlex, fnmatch, posixpath
d = {'here': '/x', 'n': 5, 'm': -5, 'c': 'q', 'u': "ż\u2028'\U0001f600"}
def env(s):
    lexer = shlex.shlex(s)
    lexer.wordchars += '/.+-():'
    return list(lexer)
do = {
 'format': lambda s: s % d,
 'int': lambda s: str(int(s)),
 'octal': lambda s: str(int(s, 8)),
 'repr': repr, 'ascii': ascii, 'strip': str.strip, 'lower': str.lower,
 'split': shlex.split, 'lex': env,
 'dirname': posixpath.dirname, 'clean': lambda s: posixpath.normpath('/' + s),
 'match': lambda s: str(fnmatch.fnmatchcase(s.partition('\n')[2], s.partition('\n')[0])),
 'decode': lambda s: bytes(map(ord, s)).decode() and '',
}
for line in sys.stdin:
    kind, s = json.loads(line)
    try:
        r = [True, do[kind](s)]
    except Exception as e:
        r = [False, str(e)]
    print(json.dumps(r), flush=True)
`

// ours answers the same.
func ours(kind, s string) (any, error) {
	switch kind {
	case "format":
		n := newNames()
		n.text("here", "/x")
		n.number("n", 5)
		n.number("m", -5)
		n.text("c", "q")
		n.text("u", "ż\u2028'\U0001f600")
		f := formatter{format: s, scope: scope{inner: n}, meter: &meter{left: 1 << 20}}
		return f.run()
	case "int", "octal":
		base := 10
		if kind == "octal" {
			base = 8
		}
		n, err := parseInt(s, base)
		return n.String(), err
	case "repr":
		return repr(s), nil
	case "ascii":
		return ascii(s), nil
	case "strip":
		return strip(s), nil
	case "lower":
		return lower(s), nil
	case "split":
		return SplitCommand(s)
	case "lex":
		return lex(s)
	case "dirname":
		return dirname(s), nil
	case "clean":
		return clean("/" + s), nil
	case "match":
		pattern, name, _ := strings.Cut(s, "\n")
		return map[bool]string{true: "True", false: "False"}[match(pattern, name)], nil
	case "decode":
		var text []byte
		for _, r := range s {
			text = append(text, byte(r))
		}
		message, _, ok := undecodable(text)
		if !ok {
			return nil, problem{message: message}
		}
		return "", nil
	}
	panic(kind)
}

// pieces are what texts of each kind are made of.
var pieces = map[string][]string{
	"format":  {"%", "%", "%(", "%(n)", "%(n)", "%(here)", "%(m)", "%(c)", "%(u)", "%(z)", "(", ")", "s", "d", "i", "u", "x", "X", "o", "f", "F", "e", "E", "g", "G", "c", "r", "a", "b", "h", "l", "L", "q", "-", "+", " ", "#", "0", "5", "12", ".", ".3", "*", "é", "\t", "99999999999999999999"},
	"int":     {"0", "1", "9", "_", "+", "-", " ", "\u00a0", "\x1f", "٣", "x", "0o", "0x", ".", "\n", "𝟗", "'", "12345678901234567890"},
	"octal":   {"0", "1", "7", "8", "_", "+", "-", " ", "0o", "0O", "o", "٣", "0b", "0x"},
	"repr":    {"'", `"`, `\`, "\n", "\t", "\r", "\x00", "\x7f", "\u0080", "\u00a0", "é", "\u2028", "\u3000", "😀", "\U000e0001", "a", "\u0301", "\ue000"},
	"strip":   {" ", "\t", "\x1c", "\x1f", "\u0085", "\u00a0", "\u2028", "\u3000", "\u200b", "\ufeff", "a", "\u180e", "\v"},
	"lower":   {"A", "É", "İ", "K", "ß", "Ω", "a", "Ǆ", "Ⅷ"},
	"split":   {"a", "b", " ", "\t", "\n", "\r", "'", `"`, `\`, "#", ";", "é", "\v", "\u00a0", "=", "$"},
	"lex":     {"A", "b", "=", ",", " ", "\t", "\n", "\r", "'", `"`, `\`, "#", ";", "é", "\v", "\u00a0", "_", "/", ".", "-", "+", ":", "(", "@", "\x00"},
	"dirname": {"/", "/", "a", ".", "..", "~"},
	"match":   {"*", "?", "[", "]", "!", "-", "a", "b", "c", "^", `\`, "é", ".", "\n"},
	"decode":  {"a", "\u00c3", "\u00a9", "\u00e2", "\u0082", "\u00ac", "\u00f0", "\u009f", "\u0098", "\u0080", "\u00ff", "\u00c0", "\u00ed", "\u00a0", "\u00f4", "\u00e0", "\u00f5"},
}

// TestPython compares the parts that imitate Python with Python.
func TestPython(t *testing.T) {
	if out, err := exec.Command(python, "-c", "import sys; print(sys.version_info[:2])").Output(); err != nil || strings.TrimSpace(string(out)) != "(3, 11)" {
		t.Skipf("no Python 3.11 to compare with: %s %v", out, err)
	}
	pieces["ascii"], pieces["clean"] = pieces["repr"], pieces["dirname"]
	cmd := exec.CommandContext(t.Context(), python, "-c", pythonDriver)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // it was killed
	})
	out := bufio.NewScanner(pipe)
	out.Buffer(nil, 16<<20)
	var kinds []string
	for kind := range pieces {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	failures := 0
	for seed := range uint64(*differCases) * 20 {
		g := generator{Rand: rand.New(rand.NewPCG(*differSeed+seed, 1))}
		kind := g.of(kinds...)
		var s string
		for range g.IntN(9) {
			s += g.of(pieces[kind]...)
		}
		line, err := json.Marshal([]string{kind, s})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(append(line, '\n')); err != nil || !out.Scan() {
			t.Fatal(err, out.Err())
		}
		got, err := ours(kind, s)
		answer := []any{err == nil, got}
		if err != nil {
			answer[1] = err.Error()
		}
		if list, ok := got.([]string); ok && list == nil && err == nil {
			answer[1] = []string{}
		}
		// Both as JSON, in one spelling.
		a, b := respell(t, out.Bytes()), ""
		if text, err := json.Marshal(answer); err == nil {
			b = respell(t, text)
		}
		if a != b {
			t.Errorf("%s of %q: Python %s, we %s", kind, s, a, b)
			if failures++; failures == 20 {
				t.Fatal("and so on")
			}
		}
	}
}

// respell returns a JSON text as Go writes it.
func respell(t *testing.T, text []byte) string {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(again)
}
