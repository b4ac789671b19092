// Command mysql has the two sides of MySQL that Debian has none of: a server that proves
// passwords with caching_sha2_password or sha256_password, and a client in Go.
//
//	mysql server <address> <plugin>
//	mysql client <address> <user> <password> <root> <query>
//
// The client verifies the certificate for db.example.com; without a root it stays in
// plaintext, and with first: in front of the root it begins with TLS.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "server":
		return serve(args[1], args[2])
	case len(args) == 6 && args[0] == "client":
		return query(args[1], args[2], args[3], args[4], args[5])
	}
	return errors.New("usage: mysql server|client ...")
}

// query logs in, and prints what a query of one value returns, once as text and once
// prepared.
func query(address, user, password, root, text string) error {
	config := driver.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd = "tcp", address, user, password
	config.AllowNativePasswords, config.Timeout, config.ReadTimeout = true, 10*time.Second, 30*time.Second
	config.AllowAllFiles = true
	if err := configureTLS(config, root); err != nil {
		return err
	}
	connector, err := driver.NewConnector(config)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, prepared := range []bool{false, true} {
		value, err := scan(ctx, db, prepared, text)
		if err != nil {
			return err
		}
		fmt.Println(value)
	}
	return nil
}

// configureTLS has the client ask for TLS, or begin with it if the root says first:.
func configureTLS(config *driver.Config, root string) error {
	if root == "" {
		return nil
	}
	root, first := strings.CutPrefix(root, "first:")
	pem, err := os.ReadFile(root)
	if err != nil {
		return err
	}
	verified := &tls.Config{ServerName: "db.example.com", RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	verified.RootCAs.AppendCertsFromPEM(pem)
	if !first {
		config.TLS = verified
		return nil
	}
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return (&tls.Dialer{Config: verified}).DialContext(ctx, network, address)
	}
	return nil
}

func scan(ctx context.Context, db *sql.DB, prepared bool, text string) (value string, err error) {
	if !prepared {
		return value, db.QueryRowContext(ctx, text).Scan(&value)
	}
	statement, err := db.PrepareContext(ctx, text)
	if err != nil {
		return "", err
	}
	defer statement.Close()
	return value, statement.QueryRowContext(ctx).Scan(&value)
}

// listen is where serve accepts connections.
func listen(address string, handle func(net.Conn)) error {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go handle(conn)
	}
}

var errUnknown = errors.New("unknown query")

// answer is what the server says to a query.
func answer(query string) (string, error) {
	if strings.EqualFold(strings.TrimSpace(query), "SELECT 6*7") {
		return "42", nil
	}
	return "", errUnknown
}
