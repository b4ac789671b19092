package attacks

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

// nbdOption is an option with data, which says that it has so many octets.
func nbdOption(code uint32, size int, data string) string {
	p := binary.BigEndian.AppendUint32([]byte("IHAVEOPT"), code)
	return string(binary.BigEndian.AppendUint32(p, uint32(size))) + data
}

func nbdRows() []Row {
	var rows []Row
	add := adder(&rows)
	startTLS := nbdOption(5, 0, "")
	choose := nbdOption(7, 6, "\x00\x00\x00\x00\x00\x00")
	for _, flags := range []string{"", "\x00\x00\x00\x00", "\x00\x00\x00\x01", "\x00\x00\x00\x03", "\xff\xff\xff\xff"} {
		at := fmt.Sprintf("flags %x", flags)
		add("at once", at, 0, flags+startTLS)
		add("export not there", at, lenient.RefuseLogin, flags+choose, startTLS)
		add("export not there", "at once "+at, lenient.RefuseLogin, flags+choose+startTLS)
		add("many options", at, 0, flags+strings.Repeat(nbdOption(3, 0, ""), 2000)+startTLS)
		for _, code := range []uint32{0, 3, 4, 6, 8, 9, 10, 11, 99, 0x80000005} {
			add("behind another option", fmt.Sprintf("%d %s", code, at), 0, flags+nbdOption(code, 0, "")+startTLS)
			add("behind the answer to another option", fmt.Sprintf("%d %s", code, at), 0, flags+nbdOption(code, 2, "xy"), startTLS)
		}
		for _, n := range []int{1, 16, 8191, 8192, 8193, 17000, 70000} {
			data := strings.Repeat("x", n)
			add("with data", fmt.Sprintf("%d %s", n, at), 0, flags+nbdOption(5, n, data)+startTLS)
			add("behind long data", fmt.Sprintf("%d %s", n, at), 0, flags+nbdOption(3, n, data)+startTLS)
			add("wrong length", fmt.Sprintf("%d %s", n, at), 0, flags+nbdOption(3, n, data[1:])+"x"+startTLS)
		}
	}
	return rows
}

// nbdSession chooses an export, and goes on with blocks.
func nbdSession() []string {
	blocks := "\x25\x60\x95\x13" + strings.Repeat("IHAVEOPT\x00\x00\x00\x05\x00\x00\x00\x00", 1000)
	return []string{nbdOption(3, 0, ""), nbdOption(8, 0, ""), nbdOption(7, 6, "\x00\x00\x00\x00\x00\x00"), blocks}
}
