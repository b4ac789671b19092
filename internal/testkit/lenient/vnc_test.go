package lenient

const vncHello = "RFB 003.008\n"

var vncReadings = []reading{
	{"a subtype with TLS", "vnc", 0, vncHello + "\x13\x00\x02\x00\x00\x01\x05", []string{"VeNCrypt"}},
	{"of another version", "vnc", 0, "RFB 003.007\n\x13\x00\x00\x00\x00\x01\x01", []string{"VeNCrypt"}},
	{"Plain", "vnc", 0, vncHello + "\x13\x00\x02\x00\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x01ab\x13\x00\x02\x00\x00\x01\x05", nil},
	{"none", "vnc", 0, vncHello + "\x13\x00\x02\x00\x00\x00\x00", nil},
	{"None", "vnc", 0, vncHello + "\x01\x13\x00\x02\x00\x00\x01\x05", nil},
	{"VncAuth", "vnc", 0, vncHello + "\x02" + vncChallenge + "\x13\x00\x02\x00\x00\x01\x05", nil},
	{"RFB 3.3", "vnc", 0, "RFB 003.003\n\x13\x00\x02\x00\x00\x01\x05", nil},
	{"bare", "vnc", Bare, vncHello + "\x13\x00\x02\x00\x00\x01\x05", nil},
}
