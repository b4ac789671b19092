package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// WriteJSON writes one object, in ASCII: JSON lets control characters beyond that
// pass, such as U+009B, with which a terminal begins a command.
func (r *Report) WriteJSON(out io.Writer) error { return writeJSON(out, r) }

func writeJSON(out io.Writer, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	_, err = out.Write(append(asciiJSON(text), '\n'))
	return err
}

func asciiJSON(text []byte) (ascii []byte) {
	for _, r := range string(text) {
		if r < 0x7f {
			ascii = utf8.AppendRune(ascii, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			ascii = fmt.Appendf(ascii, `\u%04x`, unit)
		}
	}
	return ascii
}
