package cron

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/adhocore/gronx"
)

func at(t *testing.T, zone, s string) time.Time {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	when, err := time.ParseInLocation("2006-01-02 15:04:05", s, loc)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func TestNext(t *testing.T) {
	for _, test := range []struct{ line, zone, after, want string }{
		{"30 4 * * *", "Europe/Berlin", "2026-01-01 04:30:00", "2026-01-02 04:30:00 +0100"},
		{"30 4 * * mon-fri", "Europe/Berlin", "2026-01-02 12:00:00", "2026-01-05 04:30:00 +0100"},
		{"0 0 29 2 *", "Europe/Berlin", "2026-01-01 00:00:00", "2028-02-29 00:00:00 +0100"},
		{"0 12 1 * fri", "UTC", "2026-11-02 00:00:00", "2026-11-06 12:00:00 +0000"}, // either day counts
		{"0 12 * * 7", "UTC", "2026-11-02 00:00:00", "2026-11-08 12:00:00 +0000"},
		{"0 12 * * 5-7", "UTC", "2026-11-07 13:00:00", "2026-11-08 12:00:00 +0000"},
		{"0 12 * * 1-7/3", "UTC", "2026-11-05 13:00:00", "2026-11-08 12:00:00 +0000"},
		{"@daily", "America/New_York", "2026-07-01 00:00:00", "2026-07-02 00:00:00 -0400"},
		{"@every 90m", "UTC", "2026-07-01 00:10:00", "2026-07-01 01:40:00 +0000"},

		// The clocks go forward from 2 to 3 on 29 March: what doesn't exist is made
		// up for, once.
		{"30 2 * * *", "Europe/Berlin", "2026-03-28 12:00:00", "2026-03-29 03:00:00 +0200"},
		{"30 2 * * *", "Europe/Berlin", "2026-03-29 03:00:00", "2026-03-30 02:30:00 +0200"},
		{"0 3 * * *", "Europe/Berlin", "2026-03-28 12:00:00", "2026-03-29 03:00:00 +0200"},
		{"*/15 * * * *", "Europe/Berlin", "2026-03-29 01:45:00", "2026-03-29 03:00:00 +0200"},
		// Midnight doesn't exist.
		{"0 0 * * *", "America/Sao_Paulo", "2018-11-03 12:00:00", "2018-11-04 01:00:00 -0200"},
		// They go back from 3 to 2 on 25 October: what comes twice counts once.
		{"30 2 * * *", "Europe/Berlin", "2026-10-24 12:00:00", "2026-10-25 02:30:00 +0200"},
		{"30 2 * * *", "Europe/Berlin", "2026-10-25 02:30:00", "2026-10-26 02:30:00 +0100"},
		// A zone that is half an hour off, and shifts by half an hour.
		{"45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00:00", "2026-04-05 01:45:00 +1100"},
	} {
		s, err := Parse(test.line, test.zone)
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		after := at(t, test.zone, test.after)
		if got := s.Next(after).Format("2006-01-02 15:04:05 -0700"); got != test.want {
			t.Errorf("%s after %s in %s: %s, want %s", test.line, test.after, test.zone, got, test.want)
		}
	}
}

// TestRunning: what comes every so often follows the clock, also through an hour
// that comes twice.
func TestRunning(t *testing.T) {
	s, err := Parse("*/30 * * * *", "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	when := at(t, "Europe/Berlin", "2026-10-25 01:30:00")
	var got []string
	for range 6 {
		when = s.Next(when)
		got = append(got, when.Format("15:04-0700"))
	}
	want := "02:00+0200 02:30+0200 02:00+0100 02:30+0100 03:00+0100 03:30+0100"
	if strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestReboot(t *testing.T) {
	s, err := Parse("@reboot", "")
	if err != nil || !s.Next(time.Now()).IsZero() {
		t.Errorf("%v, %v", s, err)
	}
}

func TestRefused(t *testing.T) {
	for line, want := range map[string]string{
		"":                   "has 5 fields",
		"* * * *":            "has 5 fields (minute, hour, day, month, day of the week), not 4",
		"60 * * * *":         "above maximum",
		"* 24 * * *":         "above maximum",
		"0 0 30 2 *":         "never comes",
		"@sometimes":         "unrecognized descriptor",
		"@every soon":        "failed to parse duration",
		"TZ=UTC 0 0 * * *":   "timezone",
		"0 0 * * fry":        "failed to parse",
		"*/0 * * * *":        "step of range",
		"0 0 * * 9-7":        "",
		"CRON_TZ=UTC @daily": "timezone",
	} {
		if _, err := Parse(line, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
	if _, err := Parse("@daily", "Europe/Atlantis"); err == nil {
		t.Error("an unknown zone is taken")
	}
}

// TestBesideGronx compares ten years of random tables in three zones with what
// another library makes of them. On days on which the clocks are set the two may
// differ, and there the laws of the package's doc hold instead.
func TestBesideGronx(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	compared := 0
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York"} {
		for range 150 {
			line := strings.Join([]string{
				pick("0", "30", "*/20", "5,35", "10-40/10", "59"),
				pick("*", "0", "2", "3", "*/6", "9-17", "1,23"),
				pick("*", "*", "1", "15,31", "*/10"),
				pick("*", "*", "2", "jan,jul", "3-11/4"),
				pick("*", "*", "*", "1-5", "sun", "6"),
			}, " ")
			if f := strings.Fields(line); f[2] != "*" && f[4] != "*" {
				continue // the two libraries read a step of days beside a day of the week differently
			}
			s, err := Parse(line, zone)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			when := at(t, zone, "2021-01-01 00:00:00").Add(time.Duration(rng.Int64N(int64(10 * 365 * 24 * time.Hour))))
			for range 8 {
				next := s.Next(when)
				if !next.After(when) {
					t.Fatalf("%s after %v: %v", line, when, next)
				}
				if wall := onWall(next); s.fixed && !s.lines.Next(wall.Add(-time.Second)).Equal(wall) && !jumped(next) {
					t.Fatalf("%s: %v doesn't match", line, next)
				}
				if !set(when, next) {
					want, err := gronx.NextTickAfter(line, when, false)
					if err != nil {
						t.Fatalf("%s after %v: %v", line, when, err)
					}
					if !next.Equal(want) {
						t.Errorf("%s after %v: %v, but gronx says %v", line, when, next, want)
					}
					compared++
				}
				when = next
			}
		}
	}
	if compared < 1000 {
		t.Errorf("only %d were compared", compared)
	}
}

// jumped reports whether t is the first moment after a gap.
func jumped(t time.Time) bool {
	start, _ := t.ZoneBounds()
	return start.Equal(t)
}

// set reports whether a clock is set between two times, or at them.
func set(a, b time.Time) bool {
	_, x := a.Add(-2 * time.Hour).Zone()
	_, y := b.Add(2 * time.Hour).Zone()
	_, end := a.ZoneBounds()
	return x != y || !end.IsZero() && !end.After(b)
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{"30 4 * * mon-fri", "@every 1h", "*/5 1-2,7 * * 7", "@reboot", "0 0 31 2,4 *"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		s, err := Parse(line, "Europe/Berlin")
		if err != nil {
			return
		}
		when := time.Date(2026, 10, 25, 0, 0, 0, 0, time.UTC)
		for range 5 {
			next := s.Next(when)
			if next.IsZero() {
				return
			}
			if !next.After(when) {
				t.Fatalf("%q after %v: %v", line, when, next)
			}
			when = next
		}
	})
}
