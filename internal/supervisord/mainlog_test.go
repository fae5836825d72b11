package supervisord

import (
	"slices"
	"testing"
	"time"

	"tend/internal/event"
)

func TestTurns(t *testing.T) {
	for _, test := range []struct {
		turn LogTurn
		want []string
	}{
		{LogTurn{From: Stopped, To: Starting, PID: 7}, []string{"INFO spawned: 'x' with pid 7"}},
		{LogTurn{From: Starting, To: Running, PID: 7, StartSecs: 3}, []string{"INFO success: x entered RUNNING state, process has stayed up for > than 3 seconds (startsecs)"}},
		{LogTurn{From: Running, To: Exited, Exit: &event.Exit{Success: true}}, []string{"INFO exited: x (exit status 0; expected)"}},
		{LogTurn{From: Running, To: Starting, Exit: &event.Exit{Code: 3}}, []string{"WARN exited: x (exit status 3; not expected)"}},
		{LogTurn{From: Running, To: Starting, Exit: &event.Exit{Signal: 11, Core: true}}, []string{"WARN exited: x (terminated by SIGSEGV (core dumped); not expected)"}},
		{LogTurn{From: Running, To: Starting, Exit: &event.Exit{Unknown: true}}, []string{"WARN exited: x (exit status unknown; not expected)"}},
		{LogTurn{From: Starting, To: Backoff, Exit: &event.Exit{Success: true}, TooSoon: true}, []string{"WARN exited: x (exit status 0; not expected)"}},
		{LogTurn{From: Starting, To: Backoff, Exit: &event.Exit{Err: "no"}, SpawnErr: "can't find command 'x'"}, []string{"INFO spawnerr: can't find command 'x'"}},
		{LogTurn{From: Starting, To: Fatal, Exit: &event.Exit{Code: 1}, TooSoon: true}, []string{
			"WARN exited: x (exit status 1; not expected)", "INFO gave up: x entered FATAL state, too many start retries too quickly"}},
		{LogTurn{From: Running, To: Stopping, PID: 7}, []string{"INFO waiting for x to stop"}},
		{LogTurn{From: Running, To: Stopping, PID: 7, Stopping: true}, nil},
		{LogTurn{From: Stopping, To: Stopped, Exit: &event.Exit{Signal: 15}}, []string{"WARN stopped: x (terminated by SIGTERM)"}},
		{LogTurn{From: Stopping, To: Stopped, Exit: &event.Exit{Success: true}, TooSoon: true}, []string{"INFO stopped: x (exit status 0)"}},
		{LogTurn{From: Backoff, To: Stopped}, nil},
	} {
		test.turn.Name = "x"
		var got []string
		for _, s := range test.turn.Lines() {
			got = append(got, s.Level+" "+s.Text)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v:\ngot  %q\nwant %q", test.turn, got, test.want)
		}
	}
}

func TestMainLogLine(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 67e6, time.UTC)
	if got, want := string(AppendLine(nil, at, Say{"WARN", "told"})), "2026-01-02 03:04:05,067 WARN told\n"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	for _, test := range []struct {
		level, min string
		want       bool
	}{{"INFO", "info", true}, {"DEBG", "info", false}, {"CRIT", "critical", true}, {"ERRO", "critical", false}, {"BLAT", "blather", true}, {"WARN", "warn", true}} {
		if got := Logged(test.level, test.min); got != test.want {
			t.Errorf("Logged(%s, %s) is %v", test.level, test.min, got)
		}
	}
}
