package attacks

import "strings"

const (
	amqpBare      = "AMQP\x00\x01\x00\x00"
	amqpSASL      = "AMQP\x03\x01\x00\x00"
	amqpTLS       = "AMQP\x02\x01\x00\x00"
	amqpAnonymous = "\x00\x00\x00\x19\x02\x01\x00\x00\x00SA\xc0\x0c\x01\xa3\x09ANONYMOUS"
	amqpEmpty     = "\x00\x00\x00\x08\x02\x01\x00\x00"
	amqpOpen      = "\x00\x00\x00\x10\x02\x00\x00\x00\x00S\x10\xc0\x03\x01\xa1\x00"
)

// amqpRows are TLS headers in every place before the first frame of AMQP.
func amqpRows() []Row {
	places := map[string]string{
		"first":                   "",
		"behind SASL's header":    amqpSASL,
		"behind a login":          amqpSASL + amqpAnonymous,
		"behind empty frames":     amqpSASL + strings.Repeat(amqpEmpty, 3),
		"behind two layers":       amqpSASL + amqpAnonymous + amqpSASL + amqpAnonymous,
		"behind a long offset":    amqpSASL + "\x00\x00\x00\x0c\x03\x01\x00\x00\x00\x00\x00\x00",
		"behind an offset beyond": amqpSASL + "\x00\x00\x00\x0c\xff\x01\x00\x00",
		"behind a frame of AMQP":  amqpSASL + amqpOpen,
		"behind a size too small": amqpSASL + "\x00\x00\x00\x00\x02\x01\x00\x00",
		"behind no layer":         amqpBare,
		"behind a login and none": amqpSASL + amqpAnonymous + amqpBare,
		"behind a login too late": amqpBare + amqpAnonymous,
		"behind an unknown one":   "AMQP\x04\x01\x00\x00",
		"behind another version":  "AMQP\x03\x02\x00\x00",
	}
	var rows []Row
	for name, before := range places {
		for version, header := range map[string]string{"": amqpTLS, ", version 2": "AMQP\x02\x02\x00\x00", ", version 0": "AMQP\x02\x00\x00\x00"} {
			rows = append(rows,
				Row{Family: "layer", Name: name + version, Steps: []string{before, header}},
				Row{Family: "layer", Name: name + version + ", at once", Steps: []string{before + header + amqpBare + amqpOpen}})
		}
	}
	return rows
}

// amqpSession is one that nothing is wrong with.
func amqpSession() []string { return []string{amqpSASL, amqpAnonymous, amqpBare, amqpOpen} }
