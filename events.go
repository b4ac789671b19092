package l4starttls

import (
	"sync/atomic"
)

// The events. What they carry is documented in the README.
const (
	eventViolation  = "starttls.violation"
	eventUnverified = "starttls_upstream.verification_failed"
)

// currentApp is that of the configuration that is in force: sessions outlive theirs.
var currentApp atomic.Pointer[App]

// emit tells subscribers of an event. They are called at once, and the connection that it
// is about waits for them.
func emit(event string, data map[string]any) {
	if a := currentApp.Load(); a != nil && a.events.ShouldEmit(event) {
		a.events.Emit(a.ctx, event, data)
	}
}

// logAccess writes the entry of a session, with the logs of the present configuration.
func logAccess(name string, r *report) {
	if a := currentApp.Load(); a != nil {
		accessLogger(a.ctx, name).Info("session", r.fields()...)
	}
}
