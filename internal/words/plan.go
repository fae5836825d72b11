package words

import (
	"slices"
	"strings"

	"tend/api"
)

// PlanMark returns the symbol and colour of an action of a plan.
func PlanMark(action string) (symbol string, st Style) {
	switch action {
	case api.PlanStart, api.PlanAdd:
		return "+", Green
	case api.PlanStop, api.PlanDrain, api.PlanRemove:
		return "-", Red
	case api.PlanRestart:
		return "~", Yellow
	case api.PlanLive:
		return "~", Cyan
	}
	return "~", Plain
}

// Difference returns two values as one line each. Of values with several lines,
// as env, only the lines that differ are kept.
func Difference(before, after string) (string, string) {
	if strings.Contains(before, "\n") || strings.Contains(after, "\n") {
		b, a := strings.Split(before, "\n"), strings.Split(after, "\n")
		without := func(list, other []string) string {
			return strings.Join(slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "" || slices.Contains(other, s) }), " ")
		}
		before, after = without(b, a), without(a, b)
	}
	show := func(s string) string {
		if s == "" {
			return "–" // unset
		}
		return Clean(s)
	}
	return show(before), show(after)
}

// Focus shortens two values to n columns in all so that their difference stays in
// sight: what they share in front and behind goes first, then what is in their
// middle.
func Focus(before, after string, n int) (string, string) {
	b, a := []rune(before), []rune(after)
	const keep = 8 // of what they share, to know where one is
	front := 0
	for front < min(len(a), len(b)) && a[front] == b[front] {
		front++
	}
	back := 0
	for back < min(len(a), len(b))-front && a[len(a)-1-back] == b[len(b)-1-back] {
		back++
	}
	fits := func() bool { return Width(string(b))+Width(string(a)) <= n }
	if !fits() && front > keep+1 {
		b = append([]rune("…"), b[front-keep:]...)
		a = append([]rune("…"), a[front-keep:]...)
	}
	if !fits() && back > keep+1 {
		b = append(b[:len(b)-back+keep:len(b)-back+keep], '…')
		a = append(a[:len(a)-back+keep:len(a)-back+keep], '…')
	}
	// A short one leaves its room to the other.
	wb, wa := Width(string(b)), Width(string(a))
	nb := max(n/2, n-wa)
	na := max(n/2, n-min(wb, nb))
	if wb > nb && wa > na {
		nb = n / 2
		na = n - nb
	}
	return CutMiddle(string(b), nb), CutMiddle(string(a), na)
}
