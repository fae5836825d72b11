// Package cron reads schedules, and says when they are due.
//
// A schedule is a line of crontab(5): minute, hour, day of the month, month, day
// of the week; with names for months and days, lists, ranges and steps; or
// @hourly, @daily, @weekly, @monthly, @yearly, @every DURATION, @reboot. It is
// meant in a time zone. Where the day of the month and that of the week are both
// restricted, either counts, as there.
//
// When the clocks go forward, a time of day that doesn't exist is made up for at
// the first moment after the gap. When they go back, a time that comes twice
// counts the first time only; schedules of every hour or more often follow the
// clock as it runs. The package reads time zones, from the machine or from its
// own copy, and does nothing else.
package cron

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // for machines and images without any

	"github.com/robfig/cron/v3"
)

// A Schedule says when something is due. It may be used by several goroutines.
type Schedule struct {
	lines  cron.Schedule // nil: never by time
	fixed  bool          // at times of the day, not every so often
	zone   *time.Location
	phrase string
}

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Parse reads a schedule. zone is a name of the time zone database, "" for the
// machine's own.
func Parse(line, zone string) (*Schedule, error) {
	loc := time.Local
	if zone != "" {
		var err error
		if loc, err = time.LoadLocation(zone); err != nil {
			return nil, fmt.Errorf("%q is not a time zone", zone)
		}
	}
	line = strings.TrimSpace(line)
	s := &Schedule{zone: loc, phrase: line}
	switch {
	case line == "@reboot":
		return s, nil
	case strings.HasPrefix(line, "TZ="), strings.HasPrefix(line, "CRON_TZ="):
		return nil, errors.New("a time zone has a key of its own, timezone")
	case strings.HasPrefix(line, "@"):
	default:
		fields := strings.Fields(line)
		if len(fields) != 5 {
			return nil, fmt.Errorf("a schedule has 5 fields (minute, hour, day, month, day of the week), not %d", len(fields))
		}
		fields[4] = sundays(fields[4])
		line = strings.Join(fields, " ")
	}
	parsed, err := parser.Parse(line)
	if err != nil {
		return nil, err
	}
	switch p := parsed.(type) {
	case *cron.SpecSchedule:
		const everyHour = 1<<24 - 1
		s.fixed = p.Hour&everyHour != everyHour
		p.Location = time.UTC // see Next
		s.lines = p
		if s.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, loc)).IsZero() {
			return nil, fmt.Errorf("%q never comes", s.phrase)
		}
	default:
		s.lines = parsed
	}
	return s, nil
}

// sundays writes the day 7 of crontab(5), a Sunday as well, in the days from 0 to 6.
func sundays(field string) string {
	parts := strings.Split(field, ",")
	for i, part := range parts {
		days, step, stepped := strings.Cut(part, "/")
		from, to, isRange := strings.Cut(days, "-")
		switch {
		case !isRange && days == "7":
			parts[i] = "0"
		case isRange && to == "7":
			first, err := strconv.Atoi(from)
			by, err2 := strconv.Atoi(step)
			if !stepped {
				by, err2 = 1, nil
			}
			if err != nil || err2 != nil || by < 1 || first > 7 {
				continue // which the parser has words for
			}
			var list []string
			for d := first; d <= 7; d += by {
				list = append(list, strconv.Itoa(d%7))
			}
			parts[i] = strings.Join(list, ",")
		}
	}
	return strings.Join(parts, ",")
}

// String returns the schedule as it was written.
func (s *Schedule) String() string { return s.phrase }

// Next returns the first time after t at which something is due, in the
// schedule's time zone; zero: never.
func (s *Schedule) Next(t time.Time) time.Time {
	if s.lines == nil {
		return time.Time{}
	}
	line, ok := s.lines.(*cron.SpecSchedule)
	if !ok {
		return s.lines.Next(t.In(s.zone))
	}
	if !s.fixed {
		running := *line
		running.Location = s.zone
		return running.Next(t.In(s.zone))
	}
	// Times of the day are looked for on a clock that is never set, and then
	// found on the zone's.
	for wall := onWall(t.In(s.zone)); ; {
		if wall = line.Next(wall); wall.IsZero() {
			return time.Time{}
		}
		if due := moment(wall, s.zone); due.After(t) {
			return due
		} // else it was due the first time that the clock showed it
	}
}

// onWall returns what a clock on the wall shows at t, as a time in UTC.
func onWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// moment returns when a clock on the wall first shows wall, or something later.
func moment(wall time.Time, zone *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	start, end := t.ZoneBounds()
	if !onWall(t).Equal(wall) { // the clock jumps over it, at one end of this zone's time or the other
		for _, jump := range []time.Time{start, end} {
			if !jump.IsZero() && onWall(jump).After(wall) && !onWall(jump.Add(-time.Second)).After(wall) {
				return jump
			}
		}
		return t
	}
	if !start.IsZero() { // before it was set back the clock may have shown the same
		_, now := t.Zone()
		_, before := start.Add(-time.Second).Zone()
		if earlier := t.Add(time.Duration(now-before) * time.Second); earlier.Before(start) && onWall(earlier).Equal(wall) {
			return earlier
		}
	}
	return t
}
