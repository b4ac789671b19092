package dialogue

import (
	"bytes"
	"strconv"
	"strings"
)

// An HTTPField is a field of a message of HTTP/1, without the blanks around its value.
type HTTPField struct{ Name, Value string }

// HTTPFields are those of one message, in their order.
type HTTPFields []HTTPField

// An HTTPRequest is the head of a request of HTTP/1 (RFC 9112 section 3).
type HTTPRequest struct {
	Method, Target string
	Minor          byte // of the version: '0' or '1'
	HTTPFields
}

// An HTTPResponse is the head of a response of HTTP/1 (RFC 9112 section 4).
type HTTPResponse struct {
	Line   string
	Status int
	Minor  byte
	HTTPFields
}

// CutHTTPRequest reads the request that b begins with, and returns the size of its head, or
// 0 if more of it must arrive. It takes what all servers read alike: lines end with CRLF,
// and have no other control characters but tabs in values; no line continues another; there
// is one Host in HTTP/1.1, and of what frames a body there is one field. All else is
// ErrMalformed as soon as its line is there.
func CutHTTPRequest(b []byte) (r *HTTPRequest, size int, err error) {
	r = new(HTTPRequest)
	if r.HTTPFields, size, err = cutHTTPHead(b, r.parse); size == 0 || err != nil {
		return nil, 0, err
	}
	if hosts := r.count("Host"); hosts > 1 || hosts == 0 && r.Minor == '1' {
		return nil, 0, ErrMalformed
	}
	return r, size, nil
}

func (r *HTTPRequest) parse(line string) bool {
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	minor, ok := strings.CutPrefix(version, "HTTP/1.")
	if !ok || minor != "0" && minor != "1" || !isHTTPToken(method) || target == "" {
		return false
	}
	for _, c := range []byte(target) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	r.Method, r.Target, r.Minor = method, target, minor[0]
	return true
}

// CutHTTPResponse is CutHTTPRequest for a response.
func CutHTTPResponse(b []byte) (r *HTTPResponse, size int, err error) {
	r = new(HTTPResponse)
	if r.HTTPFields, size, err = cutHTTPHead(b, r.parse); size == 0 || err != nil {
		return nil, 0, err
	}
	return r, size, nil
}

// parse takes a status line whose reason, and the blank in front of it, may be missing.
func (r *HTTPResponse) parse(line string) bool {
	version, rest, _ := strings.Cut(line, " ")
	status, _, _ := strings.Cut(rest, " ")
	minor, ok := strings.CutPrefix(version, "HTTP/1.")
	code, err := strconv.Atoi(status)
	if !ok || minor != "0" && minor != "1" || err != nil || len(status) != 3 || code < 100 {
		return false
	}
	r.Line, r.Status, r.Minor = line, code, minor[0]
	return true
}

// cutHTTPHead reads a head whose first line is for parse.
func cutHTTPHead(b []byte, parse func(line string) bool) (fields HTTPFields, size int, err error) {
	for size < len(b) {
		end := bytes.IndexByte(b[size:], '\n')
		switch {
		case size+end >= MaxFiltered, end < 0 && len(b) >= MaxFiltered:
			return nil, 0, ErrLineTooLong
		case end < 0:
			return nil, 0, nil
		}
		line, ok := strings.CutSuffix(string(b[size:size+end]), "\r")
		first := size == 0
		size += end + 1
		switch {
		case !ok || !isHTTPText(line), first && !parse(line):
			return nil, 0, ErrMalformed
		case first:
		case line == "":
			return fields, size, fields.checkFraming()
		default:
			name, value, colon := strings.Cut(line, ":")
			if !colon || !isHTTPToken(name) {
				return nil, 0, ErrMalformed
			}
			fields = append(fields, HTTPField{name, strings.Trim(value, " \t")})
		}
	}
	return nil, 0, nil
}

// checkFraming refuses what makes servers see different ends of a body (RFC 9112 section 6.3).
func (f HTTPFields) checkFraming() error {
	if f.count("Content-Length")+f.count("Transfer-Encoding") > 1 {
		return ErrMalformed
	}
	return nil
}

// Body returns the length of the body that the fields announce, or that it is in chunks.
// A coding that is not chunked, or in HTTP/1.0, is ErrMalformed.
func (f HTTPFields) Body(minor byte) (length int64, chunked bool, err error) {
	switch {
	case f.count("Transfer-Encoding") > 0:
		if minor != '1' || !EqualASCII(f.Get("Transfer-Encoding"), "chunked") {
			return 0, false, ErrMalformed
		}
		return 0, true, nil
	case f.count("Content-Length") > 0:
		digits := f.Get("Content-Length")
		length, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || strings.Trim(digits, "0123456789") != "" {
			return 0, false, ErrMalformed
		}
		return length, false, nil
	}
	return 0, false, nil
}

func (f HTTPFields) count(name string) (n int) {
	for _, field := range f {
		if EqualASCII(field.Name, name) {
			n++
		}
	}
	return n
}

// Get returns the value of the first field of a name, or nothing.
func (f HTTPFields) Get(name string) string {
	for _, field := range f {
		if EqualASCII(field.Name, name) {
			return field.Value
		}
	}
	return ""
}

// Has reports whether there is a field of any of the names.
func (f HTTPFields) Has(names ...string) bool {
	for _, name := range names {
		if f.count(name) > 0 {
			return true
		}
	}
	return false
}

// List returns the elements of all fields of a name whose value is a list, such as
// Connection and Upgrade (RFC 9110 section 5.6.1).
func (f HTTPFields) List(name string) (elements []string) {
	for _, field := range f {
		if !EqualASCII(field.Name, name) {
			continue
		}
		for element := range strings.SplitSeq(field.Value, ",") {
			if element = strings.Trim(element, " \t"); element != "" {
				elements = append(elements, element)
			}
		}
	}
	return elements
}

// WithList returns fields that have the elements in place of those of all fields of the
// name: in the first of these, and in none if there are no elements.
func (f HTTPFields) WithList(name string, elements []string) (edited HTTPFields) {
	for _, field := range f {
		switch {
		case !EqualASCII(field.Name, name):
			edited = append(edited, field)
		case len(elements) > 0:
			edited = append(edited, HTTPField{field.Name, strings.Join(elements, ", ")})
			elements = nil
		}
	}
	return edited
}

// Head is a head with a first line, and the fields.
func (f HTTPFields) Head(first string) []byte {
	lines := []string{first}
	for _, field := range f {
		lines = append(lines, field.Name+": "+field.Value)
	}
	return CRLF(append(lines, ""))
}

// isHTTPText reports whether a line has no control characters but tabs.
func isHTTPText(line string) bool {
	for _, c := range []byte(line) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isHTTPToken reports whether a text is a token (RFC 9110 section 5.6.2).
func isHTTPToken(text string) bool {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return text != ""
}
