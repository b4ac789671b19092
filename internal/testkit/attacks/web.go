package attacks

import (
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

// httpAsks are requests that a backend must not get, or not from everybody.
var httpAsks = map[string]string{
	"upgrade":  "GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n",
	"password": "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\n\r\n",
	"proxy":    "GET /a HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic YTpi\r\n\r\n",
}

func httpRows() []Row {
	rows := httpLists()
	add := adder(&rows)
	for name, ask := range httpAsks {
		add("as it is", name, 0, ask)
		add("LF", name, 0, strings.ReplaceAll(ask, "\r\n", "\n"))
		add("CR", name, 0, strings.ReplaceAll(ask, "\r\n", "\r"))
		add("lower case", name, 0, strings.ToLower(ask))
		add("upper case", name, 0, strings.ToUpper(ask))
		add("second request", name, 0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ask)
		add("pipelined", name, 0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"+ask)
		add("many requests", name, 0, strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 500)+ask)
		add("long", "field "+name, 0, strings.Replace(ask, "Host", "X: "+strings.Repeat("x", 17000)+"\r\nHost", 1))
		add("long", "target "+name, 0, strings.Replace(ask, "/a", "/"+strings.Repeat("a", 70000), 1))
		add("long", "fields "+name, 0, strings.Replace(ask, "Host", strings.Repeat("X: y\r\n", 5000)+"Host", 1))
		httpSpelt(add, name, ask)
		httpFramed(add, name, ask)
	}
	return rows
}

// An addRow is what adder returns.
type addRow func(family, name string, quirks lenient.Quirk, steps ...string)

// httpSpelt has a request in spellings that some server takes for it.
func httpSpelt(add addRow, name, ask string) {
	add("blanks", "before the colon "+name, 0, strings.ReplaceAll(ask, ":", " :"))
	add("blanks", "tab before the colon "+name, 0, strings.ReplaceAll(ask, ":", "\t:"))
	add("blanks", "none "+name, 0, strings.ReplaceAll(ask, ": ", ":"))
	add("blanks", "folded "+name, 0, strings.ReplaceAll(ask, ": ", ":\r\n "))
	add("blanks", "folded by a tab "+name, 0, strings.ReplaceAll(ask, "Host: a\r\n", "Host:\r\n\ta\r\n"))
	add("blanks", "folded into another "+name, 0, strings.ReplaceAll(ask, "Host: a\r\n", "Host: a\r\nX: y\r\n "))
	add("blanks", "empty lines before "+name, 0, "\r\n\r\n"+ask)
	add("blanks", "LF before "+name, 0, "\n"+ask)
	add("versions", "1.0 "+name, 0, strings.ReplaceAll(ask, "HTTP/1.1", "HTTP/1.0"))
	add("versions", "1.2 "+name, 0, strings.ReplaceAll(ask, "HTTP/1.1", "HTTP/1.2"))
	add("versions", "none "+name, 0, strings.ReplaceAll(ask, " HTTP/1.1", ""))
	for c, control := range controls() {
		add("control character", c+" before "+name, 0, control+ask)
		add("control character", c+" in the request line "+name, 0, strings.Replace(ask, " ", control, 1))
		add("control character", c+" before the fields "+name, 0, strings.Replace(ask, "Host: a\r\n", "Host: a\r\n"+control, 1))
		add("control character", c+" for an end "+name, 0, strings.ReplaceAll(ask, "a\r\n", "a"+control))
		add("control character", c+" behind a line "+name, 0, strings.ReplaceAll(ask, "\r\n", control+"\r\n"))
	}
}

// httpFramed has it behind a body that some servers see the end of in another place.
func httpFramed(add addRow, name, ask string) {
	for body, head := range map[string]string{
		"two lengths":           "Content-Length: 0\r\nContent-Length: 500\r\n",
		"two lengths, reversed": "Content-Length: 500\r\nContent-Length: 0\r\n",
		"length and chunks":     "Content-Length: 500\r\nTransfer-Encoding: chunked\r\n",
		"chunks and length":     "Transfer-Encoding: chunked\r\nContent-Length: 500\r\n",
		"another coding":        "Transfer-Encoding: xchunked\r\nContent-Length: 500\r\n",
		"coding in a list":      "Transfer-Encoding: chunked, identity\r\n",
		"a sign":                "Content-Length: +500\r\n",
		"a list of lengths":     "Content-Length: 500, 500\r\n",
		"a hexadecimal length":  "Content-Length: 0x1f4\r\n",
		"a huge length":         "Content-Length: 99999999999999999999999\r\n",
		"an underscore":         "Content_Length: 500\r\nContent-Length: 0\r\n",
		"a blank":               "Content-Length : 500\r\n",
	} {
		add("framing", body+" "+name, 0, "POST / HTTP/1.1\r\nHost: a\r\n"+head+"\r\n0\r\n\r\n"+ask)
	}
	chunked := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for chunk, size := range map[string]string{
		"hexadecimal": "0x0\r\n\r\n", "a sign": "-1\r\n\r\n", "LF": "0\n\n", "a blank": "0 \r\n\r\n", "nothing": "\r\n\r\n", "zeros": "000\r\n\r\n",
		"an extension": "0;a=b\r\n\r\n", "a trailer": "0\r\nX: y\r\n\r\n", "LF in an extension": "0;a\nb\r\n\r\n",
		"huge": "fffffffffffffffff\r\n\r\n", "too short": "1\r\nab\r\n0\r\n\r\n", "CR in the data's end": "1\r\na\r\r\n0\r\n\r\n",
	} {
		add("chunks", chunk+" "+name, 0, chunked+size+ask)
	}
}

// httpLists have the upgrade in lists of all kinds.
func httpLists() []Row {
	var rows []Row
	add := adder(&rows)
	for name, fields := range map[string]string{
		"a list":             "Upgrade: h2c, TLS/1.0\r\nConnection: close, Upgrade\r\n",
		"a list, reversed":   "Upgrade: TLS/1.0, h2c\r\nConnection: Upgrade, close\r\n",
		"two fields":         "Upgrade: h2c\r\nUpgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
		"no Connection":      "Upgrade: TLS/1.0\r\n",
		"no version":         "Upgrade: TLS\r\nConnection: Upgrade\r\n",
		"commas":             "Upgrade: ,, TLS/1.0 ,\r\nConnection: ,Upgrade,\r\n",
		"blanks in the list": "Upgrade:\tTLS/1.3\t\r\nConnection:\tupgrade\t\r\n",
	} {
		add("lists", name, 0, "GET / HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n")
	}
	return rows
}

// honestToo is more of Honest.
func honestToo(protocol string) []Row {
	switch protocol {
	case "amqp":
		return honest(0, amqpSession())
	case "http":
		return honestHTTP()
	case "rdp":
		return honest(0, rdpSession())
	case "tds":
		return tdsSessions()
	}
	return nil
}

func honestHTTP() []Row {
	const get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
	return honest(0,
		[]string{get, "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nUpgrade: TLS/1.0\r\n" + get, get + get},
		[]string{"POST /c HTTP/1.1\r\nhost:a\r\nTransfer-Encoding: chunked\r\n\r\n12\r\nUpgrade: TLS/1.0\r\n\r\n0\r\n\r\n", get},
		[]string{"POST /d HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", strings.Repeat(get[:25], 4000), "GET /e HTTP/1.0\r\n\r\n"})
}
