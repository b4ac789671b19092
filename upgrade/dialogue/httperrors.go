package dialogue

import "errors"

// An httpError is how a session ends in HTTP.
type httpError struct {
	why          error
	status, says string
}

// httpErrors have the first that fits in front.
var httpErrors = []httpError{
	{ErrPipelined, "400 Bad Request", "Nothing may follow the request before TLS"},
	{ErrLineTooLong, "431 Request Header Fields Too Large", ""},
	{ErrMalformed, "400 Bad Request", ""},
	{ErrTooManyConnections, "429 Too Many Requests", "Too many connections from your address"},
	{ErrTooManyUpgrades, "429 Too Many Requests", "Too many upgrades from your address"},
	{ErrTooMany, "400 Bad Request", "Too much before TLS"},
	{ErrTimeout, "408 Request Timeout", ""},
	{ErrShutdown, "503 Service Unavailable", "The server is shutting down"},
	{ErrBackend, "502 Bad Gateway", "Backend not available"},
}

func (e *httpError) is(why error) bool { return errors.Is(why, e.why) }

func (e *httpError) text(why error) string {
	if e.is(ErrBackend) {
		return UnavailableText(why, e.says)
	}
	return e.says
}
