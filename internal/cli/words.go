package cli

import (
	"strconv"

	"tend/internal/words"
)

// What the dashboard says and shows in the same way, under the names that they
// have here.
var (
	span       = words.Span
	shortSpan  = words.ShortSpan
	size       = words.Size
	percent    = words.Percent
	count      = words.Count
	stateWord  = words.State
	lastExit   = words.LastExit
	waitsFor   = words.WaitsFor
	why        = words.Why
	matches    = words.Matches
	width      = words.Width
	pad        = words.Pad
	cut        = words.Cut
	cutMiddle  = words.CutMiddle
	clean      = words.Clean
	bare       = words.Bare
	cleanLines = words.CleanLines
)

type style = words.Style

const (
	plain  = words.Plain
	bold   = words.Bold
	dim    = words.Dim
	red    = words.Red
	green  = words.Green
	yellow = words.Yellow
	cyan   = words.Cyan
)

// quote returns s in quotation marks, safe to print.
func quote(s string) string { return strconv.Quote(s) }
