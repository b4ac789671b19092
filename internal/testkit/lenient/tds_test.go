package lenient

const (
	tdsVersion = "\x00\x00\x0b\x00\x06"
	tdsAsks    = "\x12\x01\x00\x1a\x00\x00\x01\x00" + tdsVersion + "\x01\x00\x11\x00\x01\xff" + "\x10\x00\x03\xe8\x00\x00"
	tdsOffers  = tdsAsks + "\x01"
	tdsPlain   = tdsAsks + "\x02"
	tdsLogin   = "\x10\x01\x00\x0c\x00\x00\x01\x00user"
)

var tdsReadings = []reading{
	{"TLS", "tds", 0, tdsOffers, []string{"ENCRYPTION"}},
	{"TLS, in part of a message", "tds", 0, "\x12\x00\x00\x1a\x00\x00\x01\x00" + tdsVersion + "\x01\x00\x11\x00\x01\xff" + "\x10\x00\x03\xe8\x00\x00\x01", []string{"ENCRYPTION"}},
	{"TLS and none", "tds", 0, "\x12\x01\x00\x1a\x00\x00\x01\x00\x01\x00\x11\x00\x01\x01\x00\x10\x00\x01\xff" + "\x00\x00\x00\x00\x00\x01\x02", []string{"ENCRYPTION"}},
	{"no TLS", "tds", 0, tdsPlain + tdsLogin, nil},
	{"no TLS, then TLS", "tds", 0, tdsPlain + tdsOffers + tdsLogin, []string{"ENCRYPTION"}},
	{"a packet of the handshake", "tds", 0, "\x12\x01\x00\x0d\x00\x00\x01\x00\x16\x03\x01\x00\x00", []string{"ClientHello"}},
	{"a login", "tds", Cleartext, tdsPlain + tdsLogin, []string{"login"}},
	{"a login of before", "tds", Cleartext, "\x02\x01\x00\x0c\x00\x00\x01\x00user", []string{"login"}},
	{"TLS behind a login", "tds", 0, tdsLogin + tdsOffers, nil},
	{"bare", "tds", Bare, tdsOffers, nil},
	{"no packet", "tds", 0, "\x12\x01\x00\x07\x00\x00\x00\x00" + tdsOffers, nil},
	{"another protocol", "tds", 0, "\x16\x03\x00\x0c\x00\x00\x01\x00user" + tdsOffers, nil},
}
