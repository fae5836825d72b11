package supervisord

import (
	"testing"
	"time"
)

func TestUptime(t *testing.T) {
	for seconds, want := range map[int]string{
		-3: "0:00:00", 0: "0:00:00", 5: "0:00:05", 3599: "0:59:59", 36000: "10:00:00",
		86400: "1 day, 0:00:00", 2*86400 + 3723: "2 days, 1:02:03",
	} {
		if got := uptime(seconds); got != want {
			t.Errorf("%d seconds are %q, not %q", seconds, got, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	now := time.Date(2026, 11, 23, 13, 5, 9, 0, time.Local)
	early := time.Date(2026, 2, 3, 0, 7, 0, 0, time.Local)
	for _, c := range []struct {
		p    Process
		want string
	}{
		{Process{State: Running, PID: 123, Start: now.Add(-5 * time.Second)}, "pid 123, uptime 0:00:05"},
		{Process{State: Running, PID: 1, Start: now.Add(time.Hour)}, "pid 1, uptime 0:00:00"},
		{Process{State: Stopped}, "Not started"},
		{Process{State: Stopped, Start: early, Stop: early}, "Feb 03 12:07 AM"},
		{Process{State: Exited, Start: early, Stop: now}, "Nov 23 01:05 PM"},
		{Process{State: Fatal, SpawnErr: "Exited too quickly (process log may have details)"}, "Exited too quickly (process log may have details)"},
		{Process{ID: ID{"g", "n"}, State: Backoff}, `unknown error (try "tail n")`},
		{Process{State: Starting, PID: 5, Start: now}, ""},
		{Process{State: Stopping, PID: 5, Start: now}, ""},
		{Process{State: Unknown, Start: now}, ""},
	} {
		if got := describe(c.p, now); got != c.want {
			t.Errorf("%+v: %q, not %q", c.p, got, c.want)
		}
	}
	if got := unix(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)); got != 1<<31-1 {
		t.Errorf("a time after 2038 is %d", got)
	}
}
