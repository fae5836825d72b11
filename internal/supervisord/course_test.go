package supervisord

import (
	"strings"
	"testing"
)

// TestCourse: what is seen of a process, and what supervisord would tell of it.
func TestCourse(t *testing.T) {
	start, up := Turn{To: Starting, PID: 7}, Turn{To: Running, PID: 7}
	for _, test := range []struct {
		name  string
		turns []Turn
		want  string // payloads without the names
	}{
		{"a start", []Turn{start, up}, "STARTING from STOPPED tries:0, RUNNING from STARTING pid:7"},
		{"a stop", []Turn{start, up, {To: Stopping, PID: 7}, {To: Stopped, Ended: true}},
			"STARTING from STOPPED tries:0, RUNNING from STARTING pid:7, STOPPING from RUNNING pid:7, STOPPED from STOPPING pid:7"},
		{"an end, and a start at once", []Turn{start, up, {To: Starting, Ended: true}, {To: Starting, PID: 8}, {To: Running, PID: 8}},
			"STARTING from STOPPED tries:0, RUNNING from STARTING pid:7, EXITED from RUNNING expected:0 pid:7, STARTING from EXITED tries:0, RUNNING from STARTING pid:8"},
		{"an end nobody follows", []Turn{start, up, {To: Exited, Ended: true, Expected: true}, start},
			"STARTING from STOPPED tries:0, RUNNING from STARTING pid:7, EXITED from RUNNING expected:1 pid:7, STARTING from EXITED tries:0"},
		{"an end before it was seen to run", []Turn{start, {To: Exited, Ended: true, Expected: true}},
			"STARTING from STOPPED tries:0, RUNNING from STARTING pid:7, EXITED from RUNNING expected:1 pid:7"},
		{"failed starts", []Turn{start, {To: Backoff, Ended: true}, start, {To: Backoff, Ended: true}, start, {To: Fatal, Ended: true}, start},
			"STARTING from STOPPED tries:0, BACKOFF from STARTING tries:1, STARTING from BACKOFF tries:1, BACKOFF from STARTING tries:2, STARTING from BACKOFF tries:2, BACKOFF from STARTING tries:3, FATAL from BACKOFF, STARTING from FATAL tries:0"},
		{"no process comes of it", []Turn{{To: Backoff, Ended: true}, {To: Fatal, Ended: true}},
			"STARTING from STOPPED tries:0, BACKOFF from STARTING tries:1, STARTING from BACKOFF tries:1, BACKOFF from STARTING tries:2, FATAL from BACKOFF"},
		{"a stop while it waits", []Turn{start, {To: Backoff, Ended: true}, {To: Stopped}},
			"STARTING from STOPPED tries:0, BACKOFF from STARTING tries:1, STOPPED from BACKOFF pid:0"},
		{"a stop that overtakes the start", []Turn{{To: Stopping}, {To: Stopped, Ended: true}},
			"STARTING from STOPPED tries:0, STOPPING from STARTING pid:0, STOPPED from STOPPING pid:0"},
		{"a restart", []Turn{start, up, {To: Stopping, PID: 7}, {To: Starting, PID: 8}},
			"STARTING from STOPPED tries:0, RUNNING from STARTING pid:7, STOPPING from RUNNING pid:7, STOPPED from STOPPING pid:7, STARTING from STOPPED tries:0"},
		{"a stop of what has ended", []Turn{start, up, {To: Exited, Ended: true}, {To: Stopped}},
			"STARTING from STOPPED tries:0, RUNNING from STARTING pid:7, EXITED from RUNNING expected:0 pid:7"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Course{ID: ID{"g", "p"}}
			var got []string
			for _, turn := range test.turns {
				for _, change := range c.Follow(turn) {
					e := change.Event()
					text := strings.TrimPrefix(e.Payload, "processname:p groupname:g from_state:")
					got = append(got, strings.TrimPrefix(e.Type, "PROCESS_STATE_")+" from "+text)
				}
			}
			if got := strings.Join(got, ", "); got != test.want {
				t.Errorf("told\n%s, not\n%s", got, test.want)
			}
		})
	}
}
