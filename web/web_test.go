package web

import (
	"math"
	"regexp"
	"strconv"
	"testing"
)

// TestContrast: text can be read, in light and in dark, on each ground that it stands
// on: 4.5 to 1 at least, as WCAG's level AA asks.
func TestContrast(t *testing.T) {
	css := string(Open("style.css").Body)
	colours := map[string][2]string{}
	for _, m := range regexp.MustCompile(`--(\w+): light-dark\((#\w+), (#\w+)\)`).FindAllStringSubmatch(css, -1) {
		colours[m[1]] = [2]string{m[2], m[3]}
	}
	check := func(name string, text, ground [2]string) {
		for i, scheme := range []string{"light", "dark"} {
			if r := contrast(t, text[i], ground[i]); r < 4.5 {
				t.Errorf("%s in %s: %.1f to 1", name, scheme, r)
			}
		}
	}
	for _, text := range []string{"ink", "dim", "accent", "good", "move", "warn", "bad", "calm", "off"} {
		for _, ground := range []string{"paper", "card", "raised"} {
			if colours[text][0] == "" || colours[ground][0] == "" {
				t.Fatalf("there is no --%s or --%s", text, ground)
			}
			check(text+" on "+ground, colours[text], colours[ground])
		}
	}
	n := 0
	for _, m := range regexp.MustCompile(`\.(f\d+) \{ color: light-dark\((#\w+), (#\w+)\)`).FindAllStringSubmatch(css, -1) {
		n++
		check(m[1]+" of a log", [2]string{m[2], m[3]}, colours["log"])
	}
	if n != 16 {
		t.Errorf("%d colours of terminals", n)
	}
}

// contrast returns the ratio of two colours' luminances.
func contrast(t *testing.T, a, b string) float64 {
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func luminance(t *testing.T, colour string) float64 {
	v, err := strconv.ParseUint(colour[1:], 16, 32)
	if err != nil || len(colour) != 7 {
		t.Fatalf("%q is no colour", colour)
	}
	part := func(shift int) float64 {
		c := float64(v>>shift&255) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
}
