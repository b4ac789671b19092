package rdp_test

import (
	"testing"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/rdp"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, rdp.Protocol) }

func TestMatch(t *testing.T) {
	const negotiation = "\x01\x00\x08\x00\x03\x00\x00\x00"
	dialoguetest.Match(t, rdp.Protocol, "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00"+negotiation)
	dialoguetest.Match(t, rdp.Protocol, "\x03\x00\x00\x27\x22\xe0\x00\x00\x12\x34\x00Cookie: mstshash=u\r\n"+negotiation)
	dialoguetest.Match(t, rdp.Protocol, "\x03\x00\x00\x37\x32\xe0\x00\x00\x00\x00\x00\x01\x08\x08\x00\x01\x00\x00\x00") // with correlation info
	dialoguetest.Match(t, rdp.Protocol, "\x03\x00\x01\x03\xfe\xe0\x00\x00\x00\x00\x00x\r\n"+negotiation)
	for name, bytes := range map[string]string{
		"another TPKT version":  "\x02",
		"reserved":              "\x03\x01",
		"large":                 "\x03\x00\x02",
		"larger than X.224":     "\x03\x00\x01\x04",
		"no room to negotiate":  "\x03\x00\x00\x12",
		"lengths differ":        "\x03\x00\x00\x13\x0d",
		"Data TPDU":             "\x03\x00\x00\x13\x0e\xf0",
		"credit":                "\x03\x00\x00\x13\x0e\xe1",
		"to a reference":        "\x03\x00\x00\x13\x0e\xe0\x00\x01",
		"class 4":               "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x40",
		"TSAP parameter":        "\x03\x00\x00\x27\x22\xe0\x00\x00\x00\x00\x00\xc1\x02",
		"control in the cookie": "\x03\x00\x00\x27\x22\xe0\x00\x00\x00\x00\x00Cookie: \x01",
		"bare CR":               "\x03\x00\x00\x27\x22\xe0\x00\x00\x00\x00\x00C\rx",
		"cookie without an end": "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00Cookie: ",
		"cookie and nothing":    "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00C: xyz\r\n",
		"another structure":     "\x03\x00\x00\x15\x10\xe0\x00\x00\x00\x00\x00\r\n\x02",
		"of another length":     "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x09",
		"standard RDP security": "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x00\x00\x00\x00",
		"ClientHello":           "\x16",
		"HTTP":                  "G",
	} {
		t.Run(name, func(t *testing.T) { dialoguetest.NoMatch(t, rdp.Protocol, bytes) })
	}
}
