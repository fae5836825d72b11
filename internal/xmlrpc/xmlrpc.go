// Package xmlrpc is XML-RPC as supervisord and its clients speak it: values,
// calls, answers and faults, read and written, and a client for it over unix
// sockets and TCP.
//
// Reading is strict and bounded: input that isn't well-formed XML of the
// expected shape is an error, and [Limits] bound its size, its depth and the
// number of its values, so that nothing that is sent makes it panic or take more
// memory than some multiple of that size. Writing gives the bytes that
// supervisord (Python's xmlrpc.client) writes, down to the line ends, since
// clients exist that compare more than they should.
//
// It doesn't know the methods of supervisord, doesn't serve HTTP, and has no
// part of XML that XML-RPC has no use for: a document type is refused, names
// with namespaces too, attributes are skipped.
//
// # Values
//
// A value is an any that holds one of these:
//
//	XML                  Go
//	int, i4              int, of 32 bits when written
//	boolean              bool
//	string, untyped text string
//	base64               string of the bytes; only read
//	double               float64; only read
//	dateTime.iso8601     time.Time in UTC, since it names no zone; only read
//	nil                  nil; only read
//	array                []any
//	struct               Struct
//
// What is only read can come in a request, as supervisord takes it, and makes
// writing fail, as supervisord never sends it.
package xmlrpc

// A Call is a method with its parameters.
type Call struct {
	Method string
	Params []any
}

// A Struct is a struct of XML-RPC. It is a list and not a map, because members
// are written in the order they have, and clients show them in it.
type Struct []Member

// A Member is one name with its value.
type Member struct {
	Name  string
	Value any
}

// Get returns the value of a member. Of members with the same name the last one
// counts, as in supervisord.
func (s Struct) Get(name string) (value any, ok bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i].Name == name {
			return s[i].Value, true
		}
	}
	return nil, false
}

// Limits bound what is read.
type Limits struct {
	Bytes  int64 // of the whole text
	Depth  int   // of arrays and structs within each other
	Values int   // of all kinds and at all depths, names of members included
}

// CallLimits are for a server: requests are small, and come from anybody who
// can connect. The largest useful one is text for a program's standard input.
var CallLimits = Limits{Bytes: 4 << 20, Depth: 32, Values: 1 << 16}

// AnswerLimits are for a client: an answer can be a whole log.
var AnswerLimits = Limits{Bytes: 64 << 20, Depth: 32, Values: 1 << 20}
