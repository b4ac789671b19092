package interop

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// testZone is the zone in which all names are that have a certificate from Pebble.
const testZone = "example.com."

// A nameServer is a DNS server for which every name is 127.0.0.1. TXT records are added and
// deleted over HTTP.
type nameServer struct {
	addr string
	url  string // for the records

	mu    sync.Mutex
	texts map[string]map[string]bool // by name
	added int
}

func startNames(t testing.TB) *nameServer {
	t.Helper()
	n := &nameServer{addr: freeAddr(t), texts: make(map[string]map[string]bool)}
	conn, err := net.ListenPacket("udp", n.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	ln, err := net.Listen("tcp", n.addr)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	records := httptest.NewServer(http.HandlerFunc(n.change))
	t.Cleanup(records.Close)
	n.url = records.URL
	go n.serveUDP(conn)
	go n.serveTCP(ln)
	return n
}

// change adds or deletes a record.
func (n *nameServer) change(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, text := strings.ToLower(r.URL.Query().Get("name")), r.URL.Query().Get("text")
	switch r.Method {
	case http.MethodPut:
		if n.texts[name] == nil {
			n.texts[name] = make(map[string]bool)
		}
		n.texts[name][text] = true
		n.added++
	case http.MethodDelete:
		delete(n.texts[name], text)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// left counts the records that have been added, and those that are still there.
func (n *nameServer) left() (added, left int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, texts := range n.texts {
		left += len(texts)
	}
	return n.added, left
}

func (n *nameServer) serveUDP(conn net.PacketConn) {
	for packet := make([]byte, 4096); ; {
		length, from, err := conn.ReadFrom(packet)
		if err != nil {
			return
		}
		conn.WriteTo(n.reply(packet[:length]), from)
	}
}

func (n *nameServer) serveTCP(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go n.serveConn(conn)
	}
}

// serveConn has messages with their length in front (RFC 1035 section 4.2.2).
func (n *nameServer) serveConn(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(startTimeout))
	for {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, packet); err != nil {
			return
		}
		reply := n.reply(packet)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

// reply is empty if a query is not understood.
func (n *nameServer) reply(packet []byte) []byte {
	var query dnsmessage.Message
	if query.Unpack(packet) != nil || len(query.Questions) != 1 {
		return nil
	}
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.ID, Response: true, Authoritative: true, RecursionAvailable: true},
		Questions: query.Questions,
	}
	for _, body := range n.answer(query.Questions[0]) {
		header := dnsmessage.ResourceHeader{Name: query.Questions[0].Name, Class: dnsmessage.ClassINET}
		reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: body})
	}
	packed, _ := reply.Pack()
	return packed
}

// answer has no records of the kinds that it does not know.
func (n *nameServer) answer(question dnsmessage.Question) (records []dnsmessage.ResourceBody) {
	name := strings.ToLower(question.Name.String())
	switch question.Type {
	case dnsmessage.TypeA:
		records = append(records, &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}})
	case dnsmessage.TypeSOA:
		if name == testZone {
			host := dnsmessage.MustNewName("ns." + testZone)
			records = append(records, &dnsmessage.SOAResource{NS: host, MBox: host})
		}
	case dnsmessage.TypeTXT:
		n.mu.Lock()
		defer n.mu.Unlock()
		for text := range n.texts[name] {
			records = append(records, &dnsmessage.TXTResource{TXT: []string{text}})
		}
	}
	return records
}
