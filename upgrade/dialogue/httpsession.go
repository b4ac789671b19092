package dialogue

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// ReadHTTPRequest reads the head of a request of HTTP/1, as CutHTTPRequest does. It counts
// as a command. A ClientHello in its place is ErrMalformed.
func (s *Session) ReadHTTPRequest() (*HTTPRequest, error) { return readHTTP(s, CutHTTPRequest) }

// ReadHTTPResponse reads the head of a response of HTTP/1. It skips interim ones (1xx), but
// for 101, behind which there is no other (RFC 9110 section 15.2).
func (s *Session) ReadHTTPResponse() (*HTTPResponse, error) {
	for {
		r, err := readHTTP(s, CutHTTPResponse)
		if err != nil || r.Status == 101 || r.Status >= 200 {
			return r, err
		}
	}
}

func readHTTP[H any](s *Session, cut func([]byte) (*H, int, error)) (*H, error) {
	for seen := 0; ; {
		b := s.Buffered()
		if bytes.IndexByte(b[seen:], '\n') >= 0 {
			head, size, err := cut(b)
			if size > 0 && err == nil {
				_, err = s.Next(size)
			}
			if size > 0 || err != nil {
				return head, err
			}
		}
		if len(b) > 0 && b[0] == RecordTypeHandshake {
			return nil, ErrMalformed
		}
		seen = len(b)
		if err := s.More(); err != nil {
			return nil, err
		}
	}
}

// SkipHTTPBody reads the body of a response, and drops it. One that ends with the
// connection is ErrMalformed: nothing can follow it.
func (s *Session) SkipHTTPBody(r *HTTPResponse) error {
	length, chunked, err := r.Body(r.Minor)
	switch {
	case err != nil:
		return err
	case r.Status == 204, r.Status == 304:
		return nil
	case chunked:
		return s.skipHTTPChunks()
	case !r.Has("Content-Length"):
		return ErrMalformed
	}
	return s.Discard(length)
}

func (s *Session) skipHTTPChunks() error {
	var chunks HTTPChunks
	for {
		n, over, err := chunks.Next(s.Buffered())
		if err != nil {
			return err
		}
		if n > 0 {
			if err := s.Discard(int64(n)); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		if n == 0 {
			if err := s.More(); err != nil {
				return err
			}
		}
	}
}

// HTTPChunks follows a body in chunks (RFC 9112 section 7.1). The zero value is at its
// beginning.
type HTTPChunks struct {
	rest    int64 // of a chunk's data
	data    bool  // there was some: its CRLF is next
	trailer bool  // the last chunk is over
}

// Next returns how many octets of b belong to the body, of what can be told by now, and
// whether it is over with them. 0 means that more must arrive. What servers may read in
// different ways is ErrMalformed.
func (c *HTTPChunks) Next(b []byte) (n int, over bool, err error) {
	if c.rest > 0 {
		return CutRest(&c.rest, b), false, nil
	}
	end := bytes.IndexByte(b, '\n')
	switch {
	case end >= MaxFiltered, end < 0 && len(b) >= MaxFiltered:
		return 0, false, ErrLineTooLong
	case end < 0:
		return 0, false, nil
	}
	line, ok := strings.CutSuffix(string(b[:end]), "\r")
	if !ok || !isHTTPText(line) {
		return 0, false, ErrMalformed
	}
	n = end + 1
	switch {
	case c.trailer:
		name, _, colon := strings.Cut(line, ":")
		if line != "" && (!colon || !isHTTPToken(name)) {
			return 0, false, ErrMalformed
		}
		return n, line == "", nil
	case c.data:
		c.data = false
		if line != "" {
			return 0, false, ErrMalformed
		}
		return n, false, nil
	}
	digits, _, _ := strings.Cut(line, ";")
	size, err := strconv.ParseUint(digits, 16, 60)
	if err != nil || strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
		return 0, false, ErrMalformed
	}
	c.rest, c.data, c.trailer = int64(size), size > 0, size == 0
	return n, false, nil
}

// HTTPReply is a response that ends a session: a status with its reason, further fields,
// and a text for people.
func HTTPReply(status, text string, fields ...string) []byte {
	head := append([]string{"HTTP/1.1 " + status}, fields...)
	if text == "" {
		return CRLF(append(head, "Content-Length: 0", ""))
	}
	head = append(head, "Content-Type: text/plain; charset=utf-8", fmt.Sprintf("Content-Length: %d", len(text)+2), "")
	return append(CRLF(head), text+"\r\n"...)
}

// HTTPErrorReply words the end of a session in HTTP, for Protocol.ErrorReply. ErrPlaintext
// is for the protocol to word.
func HTTPErrorReply(why error) []byte {
	for _, c := range httpErrors {
		if c.is(why) {
			return HTTPReply(c.status, c.text(why), "Connection: close")
		}
	}
	return nil
}
