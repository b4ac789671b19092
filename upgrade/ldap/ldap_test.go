package ldap_test

import (
	"testing"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/ldap"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, ldap.Protocol) }

func TestMatch(t *testing.T) {
	const oid = "1.3.6.1.4.1.1466.20037"
	dialoguetest.Match(t, ldap.Protocol, "\x30\x1d\x02\x01\x01\x77\x18\x80\x16"+oid)
	dialoguetest.Match(t, ldap.Protocol, "\x30\x20\x02\x04\x7f\xff\xff\xff\x77\x18\x80\x16"+oid)
	dialoguetest.Match(t, ldap.Protocol, "\x30\x84\x00\x00\x00\x25\x02\x01\x01\x77\x84\x00\x00\x00\x1c\x80\x84\x00\x00\x00\x16"+oid)
	dialoguetest.Match(t, ldap.Protocol, "\x30\x81\x2f\x02\x01\x01\x77\x18\x80\x16"+oid) // with controls
	for name, bytes := range map[string]string{
		"bind":                "\x30\x1d\x02\x01\x01\x60",
		"search":              "\x30\x25\x02\x01\x01\x63",
		"too short a message": "\x30\x1c",
		"another OID":         "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20036",
		"longer OID":          "\x30\x1e\x02\x01\x01\x77\x19\x80\x17",
		"with a value":        "\x30\x1f\x02\x01\x01\x77\x1a\x80\x16",
		"request overruns":    "\x30\x1d\x02\x02\x01\x01\x77\x18",
		"name overruns":       "\x30\x24\x02\x01\x01\x77\x18\x80\x84\x00\x00\x00\x16",
		"no messageID":        "\x30\x1d\x02\x00",
		"long messageID":      "\x30\x22\x02\x05",
		"negative messageID":  "\x30\x1d\x02\x01\xff",
		"indefinite length":   "\x30\x80",
		"nine octets":         "\x30\x89",
		"gigabytes":           "\x30\x84\xff\xff\xff\xff",
		"ClientHello":         "\x16",
		"HTTP":                "G",
	} {
		t.Run(name, func(t *testing.T) { dialoguetest.NoMatch(t, ldap.Protocol, bytes) })
	}
}
