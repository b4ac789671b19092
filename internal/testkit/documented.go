package testkit

import (
	"strings"
	"testing"
	"time"
)

// DocumentedCertificates puts a certificate, until the end of the test, in the place of the one that documents and
// examples show.
func DocumentedCertificates(t testing.TB) *strings.Replacer {
	t.Helper()
	dir := t.TempDir()
	template := Template("mail.example.com")
	template.NotAfter = time.Now().AddDate(0, 1, 0) // Caddy warns of less than a day
	certificate, key := PEM(t, Issue(t, template, NewKey(t), nil))
	WriteFile(t, dir, "fullchain.pem", string(certificate))
	WriteFile(t, dir, "privkey.pem", string(key))
	return strings.NewReplacer("/etc/ssl/mail/", dir+"/")
}
