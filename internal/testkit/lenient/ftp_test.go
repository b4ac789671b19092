package lenient

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// It refuses where it is told to.
func TestFTPRefusals(t *testing.T) {
	b, err := New("ftp", RefuseGreeting, RefuseLogin)
	require.NoError(t, err)
	require.Equal(t, "421 backend refuses\r\n", string(b.Greeting()))
	require.Equal(t, "530 Login refused\r\n", string(b.Feed([]byte("PASS x\r\n"))))
}

var ftpReadings = []reading{
	{"AUTH", "ftp", 0, "auth\ttls\r\n", []string{"AUTH"}},
	{"Telnet's commands", "ftp", 0, "\xff\xf4\xff\xf2C\xff\xfd\x01CC\r\n", []string{"CCC"}},
	{"Telnet's octet", "ftp", 0, "\xff\xffCCC\r\n", nil},
	{"active mode", "ftp", Bare, "PORT 127,0,0,1,4,5\r\n", []string{"PORT"}},
	{"no TLS", "ftp", Bare, "AUTH TLS\r\nPROT C\r\n", nil},
	{"a password", "ftp", Cleartext, "USER a\r\nPASS b\r\n", []string{"USER", "PASS"}},
	{"a password of nobody's", "ftp", Cleartext, "USER Anonymous\r\nPASS b\r\n", nil},
	{"a password in TLS", "ftp", 0, "USER a\r\nPASS b\r\n", nil},
}
