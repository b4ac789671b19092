package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/server"
)

// The user of the server.
const (
	serverUser     = "alice"
	serverPassword = "open sesame"
)

// serve runs a server that takes logins without TLS, if the password is encrypted with its
// key. Its certificate is there for the key: it offers TLS, which nobody is to take.
func serve(address, plugin string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "inner"}, DNSNames: []string{"inner.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}, MinVersion: tls.VersionTLS12,
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	s := server.NewServer("8.0.36", mysql.DEFAULT_COLLATION_ID, plugin, block, config)
	users := server.NewInMemoryProvider()
	users.AddUser(serverUser, serverPassword)
	return listen(address, func(conn net.Conn) {
		c, err := s.NewCustomizedConn(conn, users, handler{})
		if err != nil {
			fmt.Fprintln(os.Stderr, "login:", err)
			return
		}
		for c.HandleCommand() == nil {
		}
	})
}

// A handler answers queries.
type handler struct{ server.EmptyHandler }

// HandleQuery implements server.Handler.
func (handler) HandleQuery(query string) (*mysql.Result, error) { return result(query, false) }

// HandleStmtPrepare implements server.Handler.
func (handler) HandleStmtPrepare(string) (params, columns int, context any, err error) {
	return 0, 1, nil, nil
}

// HandleStmtExecute implements server.Handler.
func (handler) HandleStmtExecute(_ any, query string, _ []any) (*mysql.Result, error) {
	return result(query, true)
}

// HandleStmtClose implements server.Handler.
func (handler) HandleStmtClose(any) error { return nil }

func result(query string, binary bool) (*mysql.Result, error) {
	columns, values, err := answer(query)
	if err != nil {
		return nil, err
	}
	if columns == nil {
		return mysql.NewResult(nil), nil
	}
	set, err := mysql.BuildSimpleResultset(columns, [][]any{values}, binary)
	if err != nil {
		return nil, err
	}
	return mysql.NewResult(set), nil
}
