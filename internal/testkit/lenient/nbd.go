package lenient

import (
	"bytes"
	"encoding/binary"
)

// nbd is a server of NBD. It upgrades for as long as no export is chosen. It does not look at the
// client's flags, which may be missing, as they are where they have been said before TLS.
type nbd struct {
	session
	flagged bool
}

const (
	nbdOption  = "IHAVEOPT"
	nbdMaxData = 1 << 20

	nbdExportName, nbdAbort, nbdList, nbdStartTLS, nbdInfo, nbdGo = 1, 2, 3, 5, 6, 7

	nbdAck, nbdServer, nbdInformation     = 1, 2, 3
	nbdUnsupported, nbdPolicy, nbdUnknown = 1<<31 + 1, 1<<31 + 2, 1<<31 + 6
)

// Greeting implements Backend.
func (*nbd) Greeting() []byte { return []byte("NBDMAGIC" + nbdOption + "\x00\x03") }

// Feed implements Backend.
func (b *nbd) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *nbd) step() bool {
	switch {
	case b.loggedIn:
		b.buf = nil // blocks
		return false
	case !b.flagged && len(b.buf) < 4:
		return false
	case !b.flagged:
		b.flagged, b.buf = true, bytes.TrimPrefix(b.buf, b.flags())
		return true
	case len(b.buf) < 16:
		return false
	}
	code, size := binary.BigEndian.Uint32(b.buf[8:]), int64(binary.BigEndian.Uint32(b.buf[12:]))
	switch {
	case string(b.buf[:8]) != nbdOption || size > nbdMaxData:
		b.closed = true
		return false
	case int64(len(b.buf)) < 16+size:
		return false
	}
	message := b.buf[:16+size]
	b.buf = b.buf[16+size:]
	b.option(code, message)
	return true
}

// flags are what the client begins with, if it is not an option.
func (b *nbd) flags() []byte {
	if string(b.buf[:4]) == nbdOption[:4] {
		return nil
	}
	return b.buf[:4]
}

func (b *nbd) option(code uint32, message []byte) {
	switch {
	case code == nbdStartTLS && b.has(Bare):
		b.reply(code, nbdPolicy, "")
	case code == nbdStartTLS:
		b.forbid("NBD_OPT_STARTTLS", message)
		b.reply(code, nbdAck, "")
	case code == nbdExportName:
		b.loggedIn = true
		b.out = append(b.out, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1)
	case code == nbdAbort:
		b.reply(code, nbdAck, "")
		b.closed = true
	case code == nbdList:
		b.reply(code, nbdServer, "\x00\x00\x00\x07backend")
		b.reply(code, nbdAck, "")
	case code == nbdInfo, code == nbdGo:
		b.export(code)
	default:
		b.reply(code, nbdUnsupported, "")
	}
}

func (b *nbd) export(code uint32) {
	if b.has(RefuseLogin) {
		b.reply(code, nbdUnknown, "no such export")
		return
	}
	b.reply(code, nbdInformation, "\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x01")
	b.reply(code, nbdAck, "")
	b.loggedIn = code == nbdGo
}

func (b *nbd) reply(code, kind uint32, data string) {
	b.out = binary.BigEndian.AppendUint64(b.out, 0x0003e889045565a9)
	for _, n := range []uint32{code, kind, uint32(len(data))} {
		b.out = binary.BigEndian.AppendUint32(b.out, n)
	}
	b.out = append(b.out, data...)
}
