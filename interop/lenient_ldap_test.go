package interop

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ber makes an element with its length in a number of octets, or in as few as there can
// be if that is 0.
func ber(octets int, tag byte, contents ...string) string {
	content := strings.Join(contents, "")
	length := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
	switch {
	case octets == 0 && len(content) < 0x80:
		return string([]byte{tag, byte(len(content))}) + content
	case octets == 0:
		octets = 4
	}
	return string([]byte{tag, 0x80 | byte(octets)}) + string(length[4-octets:]) + content
}

// ldapRequest makes a message with the messageID 7.
func ldapRequest(operation string, behind ...string) string {
	return ber(0, 0x30, "\x02\x01\x07", operation, strings.Join(behind, ""))
}

const ldapStartTLSName = "1.3.6.1.4.1.1466.20037"

// ldapControl is a control that nobody knows, of some length.
func ldapControl(critical bool, size int) string {
	parts := []string{ber(0, 0x04, "1.3.6.1.4.1.32473.1"), ber(0, 0x04, strings.Repeat("x", size))}
	if critical {
		parts = slices.Insert(parts, 1, "\x01\x01\xff")
	}
	return ber(0, 0xa0, ber(0, 0x30, parts...))
}

const ldapLong = 17000 // more than Caddy looks at before it decides

// The outcome of a request that the session survives, of one that ends it, and of both.
const (
	ldapNotTwice  = `(?s:0.\x02\x01\x07x.\x0a\x01\x01.*)`
	ldapNoControl = `(?s:0.\x02\x01\x07x.\x0a\x01\x0c.*)`
	ldapSecret    = `(?s:0.\x02\x01\x07..\x0a\x01\x0d.*)`
	ldapFarewell  = `(?s:0.\x02\x01\x00x.*1\.3\.6\.1\.4\.1\.1466\.20036)`
)

// ldapUpgrades are spellings of StartTLS.
func ldapUpgrades() []attack {
	name := ber(0, 0x80, ldapStartTLSName)
	request := ber(0, 0x77, name)
	return []attack{
		once("plain", ldapRequest(request), ldapNotTwice),
		once("long lengths", ber(4, 0x30, "\x02\x81\x01\x07", ber(3, 0x77, ber(2, 0x80, ldapStartTLSName))), ldapNotTwice),
		once("lengths of one octet", ber(1, 0x30, "\x02\x01\x07", ber(1, 0x77, ber(1, 0x80, ldapStartTLSName))), ldapNotTwice),
		once("padded messageID", ber(0, 0x30, "\x02\x04\x00\x00\x00\x07", request), `(?s:0.\x02\x04\x00\x00\x00\x07x.\x0a\x01\x01.*)`),
		once("value", ldapRequest(ber(0, 0x77, name, ber(0, 0x81, "x"))), ldapNotTwice),
		once("control", ldapRequest(request, ldapControl(false, 1)), ldapNotTwice),
		once("critical control", ldapRequest(request, ldapControl(true, 1)), ldapNoControl),
		once("long control", ldapRequest(request, ldapControl(false, ldapLong)), ldapNotTwice),
		once("long critical control", ldapRequest(request, ldapControl(true, ldapLong)), ldapNotTwice),
		once("long value", ldapRequest(ber(0, 0x77, name, ber(0, 0x81, strings.Repeat("x", ldapLong)))), ldapNotTwice),
		ends("NUL", ldapRequest(ber(0, 0x77, ber(0, 0x80, ldapStartTLSName+"\x00")))),
		ends("long name", ldapRequest(ber(0, 0x77, ber(0, 0x80, ldapStartTLSName+strings.Repeat("\x00", ldapLong))))),
		ends("operation longer than its message", "\x30\x1d\x02\x01\x07\x77\x19\x80\x16"+ldapStartTLSName),
		ends("indefinite length", "\x30\x80\x02\x01\x07"+request+"\x00\x00"),
		ends("length of eight octets", "\x30\x88\x00\x00\x00\x00\x00\x00\x00\x1d\x02\x01\x07"+request),
		ends("messageID of five octets", ber(0, 0x30, "\x02\x05\x00\x00\x00\x00\x07", request)),
		ends("messageID 0", ber(0, 0x30, "\x02\x01\x00", request)),
	}
}

// ends is an attack of one step that ends the session.
func ends(name, send string) attack {
	return attack{name: name, ends: true, steps: [][2]string{{send, ldapFarewell}}}
}

// ldapPasswords are requests with a password in them, long and short.
func ldapPasswords() (attacks []attack) {
	const modify = "1.3.6.1.4.1.4203.1.11.1"
	passwd := ber(0, 0x77, ber(0, 0x80, modify), ber(0, 0x81, ber(0, 0x30, ber(0, 0x80, ldapUser), ber(0, 0x82, "secret"))))
	for name, operation := range map[string]string{
		"bind":            ber(0, 0x60, "\x02\x01\x03", ber(0, 0x04, ldapUser), ber(0, 0x80, ldapPassword)),
		"Password Modify": passwd,
		"Compare":         ber(0, 0x6e, ber(0, 0x04, ldapUser), ber(0, 0x30, ber(0, 0x04, "userPassword"), ber(0, 0x04, ldapPassword))),
		"Compare by OID":  ber(0, 0x6e, ber(0, 0x04, ldapUser), ber(0, 0x30, ber(0, 0x04, "2.5.4.35"), ber(0, 0x04, ldapPassword))),
	} {
		attacks = append(attacks, once(name, ldapRequest(operation), ldapSecret),
			once(name+", long lengths", ber(4, 0x30, "\x02\x81\x01\x07", operation), ldapSecret),
			once(name+", long control", ldapRequest(operation, ldapControl(false, ldapLong)), ldapSecret))
	}
	return append(attacks, ends("bind, long name", ldapRequest(ber(0, 0x60, "\x02\x01\x03",
		ber(0, 0x04, ldapUser+strings.Repeat(" ", ldapLong)), ber(0, 0x80, ldapPassword)))))
}

// ldapSearch reads the root of the directory, with the messageID 5, which takes the
// backend.
var ldapSearch = ber(0, 0x30, "\x02\x01\x05", ber(0, 0x63, ber(0, 0x04, "dc=example,dc=com"), "\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00",
	ber(0, 0x87, "objectClass"), "\x30\x00"))

const ldapFound = `(?s:(0.\x02\x01\x05d.*)?0.\x02\x01\x05e.\x0a\x01.*)`

// ldapBound is a bind by hand with its answer.
var ldapBound = [2]string{ldapBind, `\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00`}

// TestLenientSlapd asks a slapd with TLS of its own for that, inside TLS and in plaintext,
// before a bind and after one. Under policy optional it sends passwords in plaintext as well.
func TestLenientSlapd(t *testing.T) {
	t.Parallel()
	cert, key := selfSigned(t, "backend.example.com")
	addr := freeAddr(t)
	slapd := startSlapdWith(t, fmt.Sprintf("TLSCertificateFile %s\nTLSCertificateKeyFile %s", cert, key), "ldap://"+addr)
	r := &attackRun{startAttackRoutes(t, "policy optional", map[string]string{"ldap": addr}), "ldap", nil, [][2]string{
		{ldapSearch, ldapFound}, {ldapUnbind, ``},
	}}
	search := [2]string{ldapSearch, ldapFound}
	r.begin = func(string) attackBegin { return attackBegin{steps: [][2]string{search}} }
	r.attack(t, "ldap", attackWays, ldapUpgrades())
	r.attack(t, "ldap", []string{"plain"}, ldapPasswords())
	log := awaitSessions(t, slapd.Log, " closed", strings.Count(slapd.Log(), " ACCEPT "))
	for _, trace := range []string{ldapStartTLSName, "STARTTLS", "TLS established", "BIND dn=\"" + ldapUser, "PASSMOD", " CMP "} {
		require.NotContains(t, log, trace)
	}
	r.begin = func(string) attackBegin { return attackBegin{steps: [][2]string{ldapBound}} }
	t.Run("bound", func(t *testing.T) { r.attack(t, "ldap", []string{"starttls", "tls"}, ldapUpgrades()) })
	log = awaitSessions(t, slapd.Log, " closed", strings.Count(slapd.Log(), " ACCEPT "))
	require.NotContains(t, log, ldapStartTLSName)
	require.Contains(t, log, "BIND dn=\""+ldapUser)

	c := &matrixClient{t: t, Conn: r.dial(t, "ldap", "plain", addr)}
	_, err := c.Write([]byte(ldapRequest(ber(3, 0x77, ber(0, 0x80, ldapStartTLSName)))))
	require.NoError(t, err)
	c.expect(`(?s:0.\x02\x01\x07x.\x0a\x01\x00.*)`)
	eventually(t, startTimeout, "slapd to log the upgrade", func() bool { return strings.Contains(slapd.Log(), ldapStartTLSName) })
}
