// Command tds has the two sides of TDS that Debian has none of: a server, which is no SQL Server
// but answers what clients ask until they log in, and selects of a constant, and a client in Go.
//
//	tds server <address> [<certificate> <key>]
//	tds client <address> <encrypt> <user> <password> <root> <query>
//
// The server demands TLS if it has a certificate, and has none otherwise. The client's encrypt is
// that of go-mssqldb: disable, false, true or strict. It verifies the certificate for
// db.example.com.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	_ "github.com/microsoft/go-mssqldb"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "server":
		return serve(args[1], "", "")
	case len(args) == 4 && args[0] == "server":
		return serve(args[1], args[2], args[3])
	case len(args) == 7 && args[0] == "client":
		return query(args[1], args[2], args[3], args[4], args[5], args[6])
	}
	return errors.New("usage: tds server|client ...")
}

// query prints how many rows there are, and the last of them. It asks twice on one connection.
func query(address, encrypt, user, password, root, text string) error {
	options := url.Values{"encrypt": {encrypt}, "dial timeout": {"10"}, "connection timeout": {"30"}}
	if root != "" {
		options.Set("certificate", root)
		options.Set("hostNameInCertificate", "db.example.com")
	}
	dsn := url.URL{Scheme: "sqlserver", User: url.UserPassword(user, password), Host: address, RawQuery: options.Encode()}
	db, err := sql.Open("sqlserver", dsn.String())
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range 2 {
		rows, err := db.QueryContext(ctx, text)
		if err != nil {
			return err
		}
		count, last := 0, ""
		for rows.Next() {
			count++
			if err := rows.Scan(&last); err != nil {
				return err
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		fmt.Printf("%d rows, the last of them %q\n", count, last)
	}
	return nil
}
