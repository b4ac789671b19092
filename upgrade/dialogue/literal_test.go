package dialogue_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

var argumentScans = []struct {
	line string
	want dialogue.ArgumentScan
}{
	{"a NOOP\r\n", dialogue.ArgumentScan{}},
	{"a NOOP {3}\r\n", dialogue.ArgumentScan{Literal: true, Octets: 3, Waits: true}},
	{"a NOOP {3+}\n", dialogue.ArgumentScan{Literal: true, Octets: 3}},
	{"a NOOP ({3+}", dialogue.ArgumentScan{Literal: true, Octets: 3}},
	{"a NOOP [{3+}", dialogue.ArgumentScan{Literal: true, Octets: 3}},
	{"a NOOP\t{3+}", dialogue.ArgumentScan{Literal: true, Octets: 3}},
	{"a NOOP ~{3+}", dialogue.ArgumentScan{Literal: true, Octets: 3, Eight: true}},
	{"a NOOP {99999999999999999999}", dialogue.ArgumentScan{Literal: true, Octets: 1<<63 - 1, Waits: true}},
	{"{3+}", dialogue.ArgumentScan{Stray: true}},
	{"a{3+}", dialogue.ArgumentScan{Stray: true}},
	{"a {3} {3+}", dialogue.ArgumentScan{Stray: true}},
	{"a {3+", dialogue.ArgumentScan{Stray: true}},
	{"a {3+}x", dialogue.ArgumentScan{Stray: true}},
	{"a ~~{3+}", dialogue.ArgumentScan{Stray: true}},
	{`a "x" {3+}`, dialogue.ArgumentScan{Literal: true, Octets: 3}},
	{`a "x"{3+}`, dialogue.ArgumentScan{Stray: true}},
	{`a "x {3+}`, dialogue.ArgumentScan{Open: true}},
	{`a "x\" {3+}`, dialogue.ArgumentScan{Open: true}},
	{`a "x\\" {3+}`, dialogue.ArgumentScan{Literal: true, Octets: 3}},
	{`a "x\`, dialogue.ArgumentScan{Open: true}},
	{`a x" {3+}`, dialogue.ArgumentScan{Literal: true, Octets: 3, Stray: true}},
	{`a ("x") ["x"]`, dialogue.ArgumentScan{}},
	{"a \"\t\x01\x7f\xff\"", dialogue.ArgumentScan{}},
	{"a \"\x00\"", dialogue.ArgumentScan{Control: true}},
	{"a \"\\\x00\"", dialogue.ArgumentScan{Control: true}},
	{"a \"\r\"", dialogue.ArgumentScan{Control: true}},
	{"a\x00 {3+}", dialogue.ArgumentScan{Literal: true, Octets: 3, Control: true}},
	{"a\r\r\n", dialogue.ArgumentScan{Control: true}},
	{"a\r", dialogue.ArgumentScan{Control: true}},
	{"a\x0b", dialogue.ArgumentScan{Control: true}},
	{"a\x0c", dialogue.ArgumentScan{Control: true}},
	{"a\x7f", dialogue.ArgumentScan{Control: true}},
	{"a\tb\xff", dialogue.ArgumentScan{}},
}

func TestScanArguments(t *testing.T) {
	for _, c := range argumentScans {
		require.Equal(t, c.want, dialogue.ScanArguments([]byte(c.line), false), "%q", c.line)
	}
	require.Equal(t, dialogue.ArgumentScan{Literal: true, Octets: 3}, dialogue.ScanArguments([]byte("{3+}\r\n"), true))
	require.Equal(t, dialogue.ArgumentScan{Open: true}, dialogue.ScanArguments([]byte("\"{3+}\r\n"), true))
}
