// Command mysql has the two sides of MySQL that Debian has none of: a server that proves
// passwords with caching_sha2_password or sha256_password, and a client in Go.
//
//	mysql server <address> <plugin>
//	mysql client <address> <user> <password> <root> <query>
//	mysql large <address> <user> <password> <root>
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
	"io"
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
	case len(args) == 5 && args[0] == "large":
		return large(args[1], args[2], args[3], args[4])
	}
	return errors.New("usage: mysql server|client ...")
}

// open makes a client.
func open(address, user, password, root string, compress bool) (*sql.DB, error) {
	config := driver.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd = "tcp", address, user, password
	config.AllowNativePasswords, config.Timeout, config.ReadTimeout = true, 10*time.Second, 30*time.Second
	if err := errors.Join(configureTLS(config, root), config.Apply(driver.EnableCompression(compress))); err != nil {
		return nil, err
	}
	connector, err := driver.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// query logs in, and prints what a query of one value returns, once as text and once
// prepared.
func query(address, user, password, root, text string) error {
	db, err := open(address, user, password, root, false)
	if err != nil {
		return err
	}
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

// large has packets of more than 16 MiB go in both directions, in a prepared statement, and
// the server ask for a file, without compression and with it.
func large(address, user, password, root string) error {
	const size = 17 << 20
	driver.RegisterReaderHandler("words", func() io.Reader { return strings.NewReader(strings.Repeat("some words\n", 100000)) })
	for _, compress := range []bool{false, true} {
		db, err := open(address, user, password, root, compress)
		if err != nil {
			return err
		}
		defer db.Close()
		db.SetMaxOpenConns(1) // for the table
		var sent int
		var got string
		if err := db.QueryRow("SELECT LENGTH(?), REPEAT('y', ?)", strings.Repeat("x", size), size).Scan(&sent, &got); err != nil {
			return err
		}
		if _, err := db.Exec("CREATE TEMPORARY TABLE app.words (w TEXT)"); err != nil {
			return err
		}
		loaded, err := db.Exec("LOAD DATA LOCAL INFILE 'Reader::words' INTO TABLE app.words")
		if err != nil {
			return err
		}
		rows, err := loaded.RowsAffected()
		if err != nil {
			return err
		}
		fmt.Println(sent == size, got == strings.Repeat("y", size), rows)
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

// answer is what the server says to a query, by column: to the one that tests ask, and to the
// variables that Connector/J asks for first.
func answer(query string) (columns []string, values []any, err error) {
	const variables = "SELECT @@"
	query = strings.ToUpper(strings.TrimSpace(query))
	switch {
	case query == "SELECT 6*7":
		return []string{"value"}, []any{"42"}, nil
	case strings.HasPrefix(query, variables):
		for _, name := range strings.Split(query[len(variables):], ",@@") {
			columns, values = append(columns, strings.ToLower(name)), append(values, "1048576")
		}
		return columns, values, nil
	case strings.HasPrefix(query, "SET "):
		return nil, nil, nil
	}
	return nil, nil, errUnknown
}
