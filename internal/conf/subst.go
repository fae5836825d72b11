package conf

import (
	"fmt"
	"strings"

	"tend/internal/spec"
)

// The two variables that tend itself gives.
const (
	programVariable  = "TEND_PROGRAM"
	instanceVariable = "TEND_INSTANCE"
)

// A substError says what is wrong with a reference to a variable.
type substError struct {
	at      string // the reference as far as it was understood, as it is written
	message string
	hint    string
}

func (e *substError) Error() string { return e.message }

// maxNesting bounds references within the defaults of references.
const maxNesting = 16

// expand returns s with ${NAME} and ${NAME:-default} replaced and $$ made a
// dollar; another dollar stays. The default, which may hold references itself,
// stands in for a variable that is unset or empty. The error is a *substError.
func expand(s string, lookup func(string) (string, bool)) (string, error) {
	if strings.IndexByte(s, '$') < 0 {
		return s, nil
	}
	return expandNested(s, lookup, 0)
}

func expandNested(s string, lookup func(string) (string, bool), depth int) (string, error) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			b.WriteString(s)
			return b.String(), nil
		}
		b.WriteString(s[:i])
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			s = s[i+2:]
		case '{':
			end := closing(s[i:])
			if end < 0 {
				return "", &substError{s[i : i+2], `"${" without a "}"`, `write $$ for a dollar that is meant`}
			}
			value, err := reference(s[i:i+end+1], lookup, depth)
			if err != nil {
				return "", err
			}
			b.WriteString(value)
			s = s[i+end+1:]
		default:
			b.WriteByte('$')
			s = s[i+1:]
		}
	}
}

// closing returns the index of the brace that ends the reference at the start
// of s, or -1.
func closing(s string) int {
	depth := 0
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '{':
			if s[i-1] == '$' {
				depth++
			}
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// reference returns the value of ref, which is ${…}.
func reference(ref string, lookup func(string) (string, bool), depth int) (string, error) {
	name, fallback, hasDefault := strings.Cut(ref[2:len(ref)-1], ":-")
	if !isVariable(name) {
		return "", &substError{ref, fmt.Sprintf("%q is not a reference to a variable", ref), "write ${NAME} or ${NAME:-default}, and $$ for a dollar that is meant"}
	}
	value, ok := lookup(name)
	switch {
	case ok && (value != "" || !hasDefault):
		return value, nil
	case !hasDefault:
		return "", &substError{ref, fmt.Sprintf("the variable %s is not set", name), fmt.Sprintf("set it, or give a default: ${%s:-…}", name)}
	case depth == maxNesting:
		return "", &substError{ref[:2+len(name)], "references are nested too deeply", ""}
	}
	return expandNested(fallback, lookup, depth+1)
}

func isVariable(name string) bool {
	for i, r := range name {
		if r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// expandShell replaces tend's own two variables in a command for the shell,
// where everything else is the shell's.
func expandShell(s, program string) string {
	if !strings.Contains(s, "${TEND_") {
		return s
	}
	s = strings.ReplaceAll(s, "${"+programVariable+"}", program)
	return strings.ReplaceAll(s, "${"+instanceVariable+"}", spec.InstanceMark)
}
