package lenient

const amqpAnonymous = "\x00\x00\x00\x19\x02\x01\x00\x00\x00SA\xc0\x0c\x01\xa3\x09ANONYMOUS"

var amqpReadings = []reading{
	{"a TLS header", "amqp", 0, "AMQP\x02\x01\x00\x00", []string{"TLS header"}},
	{"in any version", "amqp", 0, "AMQP\x02\x09\x00\x00", []string{"TLS header"}},
	{"behind SASL", "amqp", 0, "AMQP\x03\x01\x00\x00" + amqpAnonymous + "AMQP\x02\x01\x00\x00", []string{"TLS header"}},
	{"behind an open", "amqp", 0, "AMQP\x00\x01\x00\x00\x00\x00\x00\x10\x02\x00\x00\x00\x00S\x10\xc0\x03\x01\xa1\x00AMQP\x02\x01\x00\x00", nil},
	{"in a frame", "amqp", 0, "AMQP\x00\x01\x00\x00\x00\x00\x00\x10\x02\x00\x00\x00AMQP\x02\x01\x00\x00", nil},
	{"a login in plaintext", "amqp", Cleartext, "AMQP\x03\x01\x00\x00" + amqpAnonymous, []string{"login"}},
	{"bare", "amqp", Bare, "AMQP\x02\x01\x00\x00", nil},
}
