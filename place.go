package l4starttls

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

// placeOf is where a dispenser stands. The adapter leaves it in the JSON, for the errors
// of what is only checked once a module has siblings.
func placeOf(d *caddyfile.Dispenser) string { return fmt.Sprintf("%s:%d", d.File(), d.Line()) }

// A placedError is an error that says where the configuration has what it is about.
type placedError struct {
	error
	place string
}

func (e *placedError) Error() string { return fmt.Sprintf("%v, at %s", e.error, e.place) }
func (e *placedError) Unwrap() error { return e.error }

// placed says where an error belongs, if that is known and the error does not say so.
func placed(err error, place string) error {
	if err == nil || place == "" || errors.As(err, new(*placedError)) {
		return err
	}
	return &placedError{err, place}
}

// warnAtStart logs what is likely to be a mistake, and where it is.
func warnAtStart(logger *zap.Logger, place, format string, args ...any) {
	logger.Warn(placed(fmt.Errorf(format, args...), place).Error())
}
