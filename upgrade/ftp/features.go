package ftp

import (
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// notForClients are the features of a backend that are not for the client: those of TLS,
// which is ours, those of active mode, and other ways to make data connections.
var notForClients = []string{
	"AUTH", "PBSZ", "PROT", "CCC", "ADAT", "CONF", "ENC", "MIC", "CPSV", "SSCN", "EPRT", "LPRT", "LPSV", "SPSV", "ESTA", "ESTP",
}

// tlsFeatures are those that RFC 4217 section 6 has servers list.
var tlsFeatures = []string{" AUTH TLS", " PBSZ", " PROT"}

// ownFeatures answer FEAT (RFC 2389 section 3.2), with further features.
func ownFeatures(further []string) []string {
	list := []string{"211-Features:"}
	for _, feature := range further {
		list = append(list, " "+feature)
	}
	return append(append(list, tlsFeatures...), "211 End")
}

// features passes on a line of the answer to FEAT. A client in TLS is told of that, whatever
// the backend has.
func (f *filter) features(x *dialogue.Exchange, code string, first, last bool, line []byte) {
	switch {
	case first && last && !f.secure, isRefusal(code) && !f.secure:
		x.ToClient(line)
	case first && last, isRefusal(code):
		if last {
			x.ToClient(dialogue.CRLF(ownFeatures(nil)))
		}
	case last:
		if f.secure {
			x.ToClient(dialogue.CRLF(tlsFeatures))
		}
		x.ToClient(line)
	case first || !slices.Contains(notForClients, dialogue.FirstWord(line)):
		x.ToClient(line)
	}
}
