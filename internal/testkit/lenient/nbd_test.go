package lenient

const (
	nbdFlags    = "\x00\x00\x00\x03"
	nbdTLS      = "IHAVEOPT\x00\x00\x00\x05\x00\x00\x00\x00"
	nbdGoExport = "IHAVEOPT\x00\x00\x00\x07\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00"
)

var nbdReadings = []reading{
	{"NBD_OPT_STARTTLS", "nbd", 0, nbdFlags + nbdTLS, []string{"NBD_OPT_STARTTLS"}},
	{"no flags", "nbd", 0, nbdTLS, []string{"NBD_OPT_STARTTLS"}},
	{"any flags", "nbd", 0, "\xff\xff\xff\xff" + nbdTLS, []string{"NBD_OPT_STARTTLS"}},
	{"with data", "nbd", 0, nbdFlags + nbdTLS[:15] + "\x02ab" + nbdTLS, []string{"NBD_OPT_STARTTLS", "NBD_OPT_STARTTLS"}},
	{"in the data of another", "nbd", 0, nbdFlags + "IHAVEOPT\x00\x00\x00\x03\x00\x00\x00\x10" + nbdTLS, nil},
	{"behind another", "nbd", 0, nbdFlags + "IHAVEOPT\x00\x00\x00\x08\x00\x00\x00\x00" + nbdTLS, []string{"NBD_OPT_STARTTLS"}},
	{"an export is chosen", "nbd", 0, nbdFlags + nbdGoExport + nbdTLS, nil},
	{"an export is not there", "nbd", RefuseLogin, nbdFlags + nbdGoExport + nbdTLS, []string{"NBD_OPT_STARTTLS"}},
	{"information", "nbd", 0, nbdFlags + "IHAVEOPT\x00\x00\x00\x06" + nbdGoExport[12:] + nbdTLS, []string{"NBD_OPT_STARTTLS"}},
	{"bare", "nbd", Bare, nbdFlags + nbdTLS, nil},
	{"no option", "nbd", 0, nbdFlags + "GET / HTTP/1.1\r\n\r\n" + nbdTLS, nil},
	{"gone", "nbd", 0, nbdFlags + "IHAVEOPT\x00\x00\x00\x02\x00\x00\x00\x00" + nbdTLS, nil},
}
