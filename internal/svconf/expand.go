package svconf

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A datum is what a name stands for: a text or a number.
type datum struct {
	text  string
	num   int
	isNum bool
}

func (d datum) String() string {
	if d.isNum {
		return strconv.Itoa(d.num)
	}
	return d.text
}

func (d datum) repr() string {
	if d.isNum {
		return strconv.Itoa(d.num)
	}
	return repr(d.text)
}

// names are the names that may stand in %(name)s, in the order in which they
// came, as a dict of Python keeps them.
type names struct {
	order []string
	data  map[string]datum
}

func newNames() *names { return &names{data: make(map[string]datum)} }

func (n *names) set(name string, d datum) {
	if _, ok := n.data[name]; !ok {
		n.order = append(n.order, name)
	}
	n.data[name] = d
}

func (n *names) text(name, value string) { n.set(name, datum{text: value}) }

func (n *names) number(name string, value int) { n.set(name, datum{num: value, isNum: true}) }

// update adds all of o, which win.
func (n *names) update(o *names) {
	for _, name := range o.order {
		n.set(name, o.data[name])
	}
}

// A scope is what a text is expanded with: inner wins over outer, which may be
// nil.
type scope struct{ outer, inner *names }

func (s scope) lookup(name string) (datum, bool) {
	if d, ok := s.inner.data[name]; ok {
		return d, true
	}
	if s.outer == nil {
		return datum{}, false
	}
	d, ok := s.outer.data[name]
	return d, ok
}

// all returns the two as one.
func (s scope) all() *names {
	if s.outer == nil {
		return s.inner
	}
	n := &names{order: slices.Clone(s.outer.order), data: maps.Clone(s.outer.data)}
	n.update(s.inner)
	return n
}

// repr is what Python prints of the names as a whole.
func (s scope) repr() string {
	var b strings.Builder
	b.WriteByte('{')
	all := s.all()
	for i, name := range all.order {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(repr(name) + ": " + all.data[name].repr())
	}
	b.WriteByte('}')
	return b.String()
}

// An unknownName is an expansion's name that nothing is known of.
type unknownName string

func (e unknownName) Error() string { return repr(string(e)) }

// A meter measures what a load may cost, and notes what it should tell of.
type meter struct {
	left  int  // bytes that texts may still come to
	whole bool // some expression stood for all names at once
}

// spend takes n bytes off.
func (m *meter) spend(n int) error {
	if m.left -= n; m.left < 0 {
		return errTooLong
	}
	return nil
}

// errTooLong ends what Python would go on with until its memory ends.
var errTooLong = problem{message: "the configuration comes to more than tend takes", hint: "fewer processes, or shorter values", ours: true}

// expand replaces the % expressions of s, whose option is called name in
// messages.
func expand(s string, sc scope, name string, m *meter) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	f := formatter{format: s, scope: sc, meter: m}
	text, err := f.run()
	var unknown unknownName
	switch {
	case err == nil:
		return text, nil
	case errors.Is(err, errTooLong):
		return "", errTooLong
	case errors.As(err, &unknown):
		known := slices.Sorted(slices.Values(sc.all().order))
		return "", problem{
			message: fmt.Sprintf("Format string %s for %s contains names (%s) which cannot be expanded. Available names: %s",
				repr(s), repr(name), unknown.Error(), strings.Join(known, ", ")),
			hint: unknownHint(string(unknown)),
		}
	}
	return "", problem{
		message: fmt.Sprintf("Format string %s for %s is badly formatted: %s", repr(s), repr(name), err),
		hint:    "a percent sign that is meant as such is written %%",
	}
}

// secondTime says of an error that it is of the second expansion of a text.
func secondTime(err error) error {
	if p, ok := errors.AsType[problem](err); ok && !p.ours {
		p.hint = "this option is expanded twice: a percent sign that is meant as such is written %%%%"
		return p
	}
	return err
}

func unknownHint(name string) string {
	if env, ok := strings.CutPrefix(name, "ENV_"); ok {
		return env + " is not in the environment of the daemon, nor in environment= of [supervisord]"
	}
	return "these names are known at this place only; a percent sign that is meant as such is written %%"
}

// A formatter is one run of Python's % operator with a dict on its right side.
// What a text without a name in parentheses stands for is odd but defined: the
// dict itself, once.
type formatter struct {
	format string
	scope  scope
	meter  *meter

	pos  int // of the next byte
	out  strings.Builder
	arg  argument
	used bool // arg was taken
}

// An argument is a datum, or the whole dict.
type argument struct {
	datum
	whole bool
}

func (a argument) kind() string {
	switch {
	case a.whole:
		return "dict"
	case a.isNum:
		return "int"
	}
	return "str"
}

var (
	errIncomplete = errors.New("incomplete format")
	errFewer      = errors.New("not enough arguments for format string")
)

func (f *formatter) run() (string, error) {
	f.arg = argument{whole: true}
	for f.pos < len(f.format) {
		i := strings.IndexByte(f.format[f.pos:], '%')
		if i < 0 {
			i = len(f.format) - f.pos
		}
		if err := f.write(f.format[f.pos : f.pos+i]); err != nil {
			return "", err
		}
		if f.pos += i; f.pos == len(f.format) {
			break
		}
		f.pos++
		if strings.HasPrefix(f.format[f.pos:], "%") {
			f.pos++
			f.out.WriteByte('%')
			continue
		}
		if err := f.expression(); err != nil {
			return "", err
		}
	}
	return f.out.String(), nil
}

// write adds to the result, within what is left of the budget.
func (f *formatter) write(s string) error {
	if err := f.meter.spend(len(s)); err != nil {
		return err
	}
	f.out.WriteString(s)
	return nil
}

// next returns the next character and goes beyond it.
func (f *formatter) next() (rune, error) {
	if f.pos >= len(f.format) {
		return 0, errIncomplete
	}
	r, n := utf8.DecodeRuneInString(f.format[f.pos:])
	f.pos += n
	return r, nil
}

// take returns the argument, which is there once.
func (f *formatter) take() (argument, error) {
	if f.used {
		return argument{}, errFewer
	}
	f.used = true
	return f.arg, nil
}

// count reads the number of a width or precision that begins with c, or is what
// the argument is if c is *. It returns the character after it.
func (f *formatter) count(c rune, limit int, what string) (n int, after rune, err error) {
	if c == '*' {
		a, err := f.take()
		if err != nil {
			return 0, 0, err
		}
		if !a.isNum {
			return 0, 0, errors.New("* wants int")
		}
		c, err := f.next()
		return a.num, c, err
	}
	for c >= '0' && c <= '9' {
		if n > (limit-int(c-'0'))/10 {
			return 0, 0, errors.New(what + " too big")
		}
		n = n*10 + int(c-'0')
		if c, err = f.next(); err != nil {
			return 0, 0, err
		}
	}
	return n, c, nil
}

// A conversion is what stands between % and its letter.
type conversion struct {
	left, plus, blank, alternate, zero bool
	width, precision                   int // precision -1: none given
	letter                             rune
}

// expression reads one expression after its %, and writes what it stands for.
func (f *formatter) expression() error {
	c, err := f.next()
	if err != nil {
		return err
	}
	if c == '(' {
		name, err := f.name()
		if err != nil {
			return err
		}
		d, ok := f.scope.lookup(name)
		if !ok {
			return unknownName(name)
		}
		f.arg, f.used = argument{datum: d}, false
		if c, err = f.next(); err != nil {
			return err
		}
	}
	v := conversion{precision: -1}
flags:
	for {
		switch c {
		case '-':
			v.left = true
		case '+':
			v.plus = true
		case ' ':
			v.blank = true
		case '#':
			v.alternate = true
		case '0':
			v.zero = true
		default:
			break flags
		}
		if c, err = f.next(); err != nil {
			return err
		}
	}
	if v.width, c, err = f.count(c, math.MaxInt, "width"); err != nil {
		return err
	}
	if v.width < 0 {
		v.left, v.width = true, -v.width
	}
	if c == '.' {
		if c, err = f.next(); err != nil {
			return err
		}
		if v.precision, c, err = f.count(c, math.MaxInt32, "precision"); err != nil {
			return err
		}
		v.precision = max(v.precision, 0)
	}
	if c == 'h' || c == 'l' || c == 'L' { // C's sizes, without a meaning
		if c, err = f.next(); err != nil {
			return err
		}
	}
	v.letter = c
	a, err := f.take()
	if err != nil {
		return err
	}
	if max(v.width, v.precision) > f.meter.left {
		return errTooLong
	}
	text, err := f.convert(v, a)
	if err != nil {
		return err
	}
	return f.write(text)
}

// name reads a name up to its closing parenthesis; pairs of them may be part of
// it.
func (f *formatter) name() (string, error) {
	depth := 1
	for i := f.pos; i < len(f.format); i++ {
		switch f.format[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			name := f.format[f.pos:i]
			f.pos = i + 1
			return name, nil
		}
	}
	return "", errors.New("incomplete format key")
}

// convert returns what a is as v says.
func (f *formatter) convert(v conversion, a argument) (string, error) {
	switch v.letter {
	case 's', 'r', 'a':
		var text string
		f.meter.whole = f.meter.whole || a.whole
		switch {
		case a.whole && v.letter == 'a':
			text = asciiOnly(f.scope.repr())
		case a.whole:
			text = f.scope.repr()
		case a.isNum || v.letter == 's':
			text = a.String()
		case v.letter == 'r':
			text = repr(a.text)
		default:
			text = ascii(a.text)
		}
		return v.pad("", v.truncate(text), ' '), nil
	case 'c':
		switch {
		case a.isNum && (a.num < 0 || a.num >= 0x110000):
			return "", errors.New("%c arg not in range(0x110000)")
		case a.isNum:
			return v.pad("", string(rune(a.num)), ' '), nil
		case !a.whole && utf8.RuneCountInString(a.text) == 1:
			return v.pad("", a.text, ' '), nil
		}
		return "", errors.New("%c requires int or char")
	case 'd', 'i', 'u', 'o', 'x', 'X':
		if !a.isNum {
			article := "a real number"
			if v.letter == 'o' || v.letter == 'x' || v.letter == 'X' {
				article = "an integer"
			}
			return "", fmt.Errorf("%%%c format: %s is required, not %s", v.letter, article, a.kind())
		}
		return v.whole(a.num), nil
	case 'e', 'E', 'f', 'F', 'g', 'G':
		if !a.isNum {
			return "", fmt.Errorf("must be real number, not %s", a.kind())
		}
		return v.float(float64(a.num)), nil
	}
	shown := v.letter
	if shown < ' ' || shown > '~' {
		shown = '?'
	}
	at := utf8.RuneCountInString(f.format[:f.pos]) - 1
	return "", fmt.Errorf("unsupported format character '%c' (0x%x) at index %d", shown, v.letter, at)
}

func asciiOnly(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			b.WriteString(escaped(r))
		}
	}
	return b.String()
}

// truncate keeps as many characters as the precision says.
func (v conversion) truncate(s string) string {
	if v.precision < 0 || utf8.RuneCountInString(s) <= v.precision {
		return s
	}
	return string([]rune(s)[:v.precision])
}

// pad fills up to the width: between sign and digits if with zeros.
func (v conversion) pad(sign, text string, fill byte) string {
	n := v.width - utf8.RuneCountInString(sign) - utf8.RuneCountInString(text)
	if n <= 0 {
		return sign + text
	}
	filling := strings.Repeat(string(fill), n)
	switch {
	case v.left:
		return sign + text + strings.Repeat(" ", n)
	case fill == '0':
		return sign + filling + text
	}
	return filling + sign + text
}

func (v conversion) fill() byte {
	if v.zero && !v.left {
		return '0'
	}
	return ' '
}

func (v conversion) sign(negative bool) string {
	switch {
	case negative:
		return "-"
	case v.plus:
		return "+"
	case v.blank:
		return " "
	}
	return ""
}

// whole formats a whole number.
func (v conversion) whole(n int) string {
	base, prefix := 10, ""
	switch v.letter {
	case 'o':
		base, prefix = 8, "0o"
	case 'x':
		base, prefix = 16, "0x"
	case 'X':
		base, prefix = 16, "0X"
	}
	digits := strings.TrimPrefix(strconv.FormatInt(int64(n), base), "-")
	if v.letter == 'X' {
		digits = strings.ToUpper(digits)
	}
	if missing := v.precision - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	sign := v.sign(n < 0)
	if v.alternate {
		sign += prefix
	}
	return v.pad(sign, digits, v.fill())
}

// float formats a number with a point.
func (v conversion) float(x float64) string {
	precision := v.precision
	if precision < 0 {
		precision = 6
	}
	letter := v.letter
	if letter == 'F' {
		letter = 'f'
	}
	if (letter == 'g' || letter == 'G') && precision == 0 {
		precision = 1
	}
	format := "%."
	if v.alternate {
		format = "%#."
	}
	digits := fmt.Sprintf(format+strconv.Itoa(precision)+string(letter), math.Abs(x))
	return v.pad(v.sign(x < 0), digits, v.fill())
}
