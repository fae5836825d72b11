package svconf

// A reader reads the options of one section. Its first problem is kept, and what
// is asked for after it isn't looked at any more: supervisord stops there too.
type reader struct {
	l       *load
	section *Section
	names   *names // beside the ENV_ ones, over which they win
	option  string // that err is about
	err     error
	told    map[string]bool // options that a warning of ours was said of
}

func (l *load) reader(s *Section, known *names) *reader {
	return &reader{l: l, section: s, names: known}
}

// fail keeps a problem with an option; "" is the section as a whole.
func (r *reader) fail(option string, err error) {
	if r.err == nil && err != nil {
		r.option, r.err = option, err
	}
}

// raw returns an option as it is written.
func (r *reader) raw(option string) (string, bool) {
	o, ok := r.l.file.lookup(r.section, option)
	return o.Value, ok
}

// text returns an option after its expansion.
func (r *reader) text(option string) (string, bool) {
	value, ok := r.raw(option)
	if !ok || r.err != nil {
		return "", false
	}
	return r.expand(option, value), r.err == nil
}

// expand expands what is the value of an option.
func (r *reader) expand(option, value string) string {
	r.l.meter.whole = false
	text, err := expand(value, scope{r.l.env, r.names}, r.section.Name+"."+option, &r.l.meter)
	r.fail(option, err)
	if err == nil && r.l.meter.whole {
		r.tell(option, "a % without a name stands for all names with their values, the environment of the daemon among them", "write %% for a percent sign")
	}
	return text
}

// tell adds a warning that supervisord doesn't have: one for each option, however
// many processes read it.
func (r *reader) tell(option, message, hint string) {
	if r.told[option] {
		return
	}
	if r.told == nil {
		r.told = make(map[string]bool)
	}
	r.told[option] = true
	r.l.sayAbout(r.section, option, Diagnostic{Severity: Warning, Ours: true, Message: message, Hint: hint})
}

// checkSeparator tells of a variable that ends where it wasn't meant to.
func (r *reader) checkSeparator(p pair) {
	if p.after != "" && p.after != "," && p.after != ";" {
		r.tell("environment", "the value of "+p.name+" ends before "+p.after+", which is taken for a comma and dropped", `write `+p.name+`="…"`)
	}
}

// textOr is text with a default.
func (r *reader) textOr(option, value string) string {
	if _, given := r.raw(option); !given {
		return r.expand(option, value)
	}
	text, _ := r.text(option)
	return text
}

// optional is text for what makes a difference whether it is given.
func (r *reader) optional(option string) *string {
	text, ok := r.text(option)
	if !ok {
		return nil
	}
	return &text
}

// value returns an option as parse reads it, or def if it isn't given.
func value[T any](r *reader, option string, def T, parse func(string) (T, error)) T {
	text, ok := r.text(option)
	if !ok {
		return def
	}
	v, err := parse(text)
	if err != nil {
		r.fail(option, err)
		return def
	}
	return v
}

func (r *reader) bool(option string, def bool) bool { return value(r, option, def, parseBool) }

func (r *reader) integer(option string, def int) int {
	return r.number(option, def, func(s string) (number, error) { return parseInt(s, 10) })
}

func (r *reader) size(option string, def int) int { return r.number(option, def, parseSize) }

// number reads a whole number. Python has no largest one; who needs more than an
// int holds can't mean it, but isn't refused.
func (r *reader) number(option string, def int, parse func(string) (number, error)) int {
	n := value(r, option, number{int: def}, parse)
	if n.big != nil {
		r.l.sayAbout(r.section, option, Diagnostic{Severity: Warning, Ours: true, Message: n.String() + " is too large a number; " + number{int: n.int}.String() + " is taken for it"})
	}
	return n.int
}

// octal reads a mode or a mask, if it is given.
func (r *reader) octal(option string) *int {
	text, ok := r.text(option)
	if !ok {
		return nil
	}
	n, err := parseOctal(text)
	if err != nil {
		r.fail(option, err)
		return nil
	}
	return &n.int
}

// account reads a user, if one is given.
func (r *reader) account(option string) *Account {
	text, ok := r.text(option)
	if !ok {
		return nil
	}
	a, err := r.l.account(text)
	if err != nil {
		r.fail(option, err)
		return nil
	}
	return a
}
