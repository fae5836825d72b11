package cli

import (
	"strings"
	"testing"

	"tend/api"
)

// TestDevKeys types keys, and sees what they ask for.
func TestDevKeys(t *testing.T) {
	few, many := []string{"web", "worker", "api"}, []string{"a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "a10", "2"}
	for _, test := range []struct {
		names      []string
		keys, want string // the last command, or what was said last
	}{
		{few, "r2", "restart worker"},
		{few, "m1", "mute web"},
		{few, "r\r", "restart "},
		{few, "mapi\r", "mute api"},
		{few, "rwo\r", "restart worker"}, // as much as tells it from others
		{few, "rw\r", `no program is called "w"`},
		{few, "rwx\x7fe\r", "restart web"},
		{few, "r\x1b", "never mind"},
		{few, "r9", "there are only 3"},
		{few, "r9q", "quit "}, // that is over
		{few, "q", "quit "},
		{few, "\x04", "quit "},
		{few, "x", ""},
		{few, "r", "restart which? 1 web, 2 worker, 3 api; or a name and Enter, Enter alone for all, Esc for none"},
		{few[:1], "r", "restart web"},
		{many, "r10\r", "restart a10"},
		{many, "r2\r", "restart 2"}, // its name comes first
	} {
		var k keyReader
		got := ""
		for _, b := range []byte(test.keys) {
			echo, cmd := k.press(b, test.names)
			if got = echo; cmd.do != "" {
				got = cmd.do + " " + cmd.name
			}
		}
		if got != test.want {
			t.Errorf("%q: %q, want %q", test.keys, got, test.want)
		}
	}
}

func TestDevMute(t *testing.T) {
	c := newCall(t, &world{}, 80, false)
	v := newDevView(c.app, []api.Instance{{Name: "web", Program: "web"}, {Name: "queue:0", Program: "queue"}, {Name: "queue:1", Program: "queue"}}, true)
	for keys, want := range map[string]string{"m2": "muted queue; m again shows it"} {
		said := ""
		for _, b := range []byte(keys) {
			said, _ = v.press(b)
		}
		if said != want || !v.mutes("queue") || v.mutes("web") {
			t.Errorf("%q: said %q", keys, said)
		}
	}
	v.line("web", plain, "hello")
	v.event(api.Event{Name: "queue:0", Program: "queue", To: api.Starting, PID: 42, Message: "started\x1b[2J"})
	if want := "14:02:11 web     │ hello\n14:02:11 queue:0 │ ● started�[2J, pid 42\n"; c.out.String() != want {
		t.Errorf("%q, want %q", c.out, want)
	}
	v.press('m')
	if said, _ := v.press('2'); !strings.HasPrefix(said, "showing queue") || v.mutes("queue") {
		t.Errorf("said %q", said)
	}
}
