package library

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

func dsn(addr, options string) string {
	_, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf("host=127.0.0.1 port=%s dbname=postgres user=%s password='%s' sslmode=disable %s", port, user, password, options)
}

// startFakePostgres runs a server that answers every query with the name that the
// client asked for by SNI.
func startFakePostgres(t testing.TB) (addr string) {
	t.Helper()
	serverTLS := newPKI(t).server.Clone()
	serverTLS.NextProtos = upgrade.Postgres.ALPN
	inner := listen(t)
	ln := upgrade.NewListener(inner, upgrade.Postgres, &upgrade.Config{TLS: serverTLS})
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serveFakePostgres(conn.(*upgrade.Conn))
		}
	}()
	return inner.Addr().String()
}

func serveFakePostgres(conn *upgrade.Conn) {
	defer conn.Close()
	backend := pgproto3.NewBackend(conn, conn)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	for name, value := range map[string]string{"client_encoding": "UTF8", "standard_conforming_strings": "on"} {
		backend.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	for {
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if err := backend.Flush(); err != nil {
			return
		}
		message, err := backend.Receive()
		if _, ok := message.(*pgproto3.Query); err != nil || !ok {
			return
		}
		state, _ := conn.TLSConnectionState()
		backend.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("name"), DataTypeOID: 25}}})
		backend.Send(&pgproto3.DataRow{Values: [][]byte{[]byte(state.ServerName)}})
		backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
	}
}

func TestConnectPostgres(t *testing.T) {
	ctx := within(t, 20*time.Second)
	db, err := ConnectPostgres(ctx, dsn(startFakePostgres(t), ""), newPKI(t).client)
	require.NoError(t, err)
	defer db.Close(ctx)
	var name string
	require.NoError(t, db.QueryRow(ctx, "SELECT name", pgx.QueryExecModeSimpleProtocol).Scan(&name))
	require.Equal(t, host, name)
}

func TestConnectPostgresVerifiesTheHostOfTheString(t *testing.T) {
	config := *newPKI(t).client
	config.TLS = config.TLS.Clone()
	config.TLS.ServerName = ""
	_, err := ConnectPostgres(within(t, 20*time.Second), dsn(startFakePostgres(t), "host=localhost"), &config)
	require.ErrorContains(t, err, "certificate is valid for "+host+", not localhost")
}

func TestConnectPostgresWantsNoSecondTLS(t *testing.T) {
	for _, options := range []string{"sslmode=prefer", "sslmode=allow", "sslmode=require", "host=a,b"} {
		_, err := ConnectPostgres(t.Context(), dsn("127.0.0.1:1", options), nil)
		require.ErrorContains(t, err, "must have sslmode=disable and one host", options)
	}
}

// The server sees TLS and offers channel binding; pgx sees none and logs in without.
func TestConnectPostgresForReal(t *testing.T) {
	addr := startPostgres(t)
	requirePlusOffered(t, addr)
	ctx := within(t, 30*time.Second)
	db, err := ConnectPostgres(ctx, dsn(addr, "require_auth=scram-sha-256"), newPKI(t).client)
	require.NoError(t, err)
	defer db.Close(ctx)
	var encrypted bool
	var version string
	require.NoError(t, db.QueryRow(ctx, "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&encrypted, &version))
	require.True(t, encrypted)
	require.Equal(t, "TLSv1.3", version)

	_, err = ConnectPostgres(ctx, dsn(addr, "channel_binding=require"), newPKI(t).client)
	require.ErrorContains(t, err, "channel binding data is not available")
	_, err = ConnectPostgres(ctx, dsn(addr, "password=wrong"), newPKI(t).client)
	requireCode(t, "28P01", err)
	requireCancels(t, db)
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err = db.Exec(ctx, "SELECT pg_sleep(60)")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// requirePlusOffered looks at how the server would have a client log in.
func requirePlusOffered(t *testing.T, addr string) {
	conn, err := upgrade.Dial(within(t, 20*time.Second), "tcp", addr, upgrade.Postgres, newPKI(t).client)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	frontend := pgproto3.NewFrontend(conn, conn)
	frontend.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": user}})
	require.NoError(t, frontend.Flush())
	message, err := frontend.Receive()
	require.NoError(t, err)
	require.IsType(t, &pgproto3.AuthenticationSASL{}, message)
	require.Contains(t, message.(*pgproto3.AuthenticationSASL).AuthMechanisms, "SCRAM-SHA-256-PLUS")
}

// requireCancels ends a query from a second connection, which pgx dials as the first.
func requireCancels(t *testing.T, db *pgx.Conn) {
	ctx := within(t, 30*time.Second)
	done := make(chan error, 1)
	go func() {
		_, err := db.Exec(ctx, "SELECT pg_sleep(60)")
		done <- err
	}()
	for {
		require.NoError(t, db.PgConn().CancelRequest(ctx))
		select {
		case err := <-done:
			requireCode(t, "57014", err)
			return
		case <-time.After(100 * time.Millisecond): // there was no query yet
		}
	}
}

func requireCode(t *testing.T, code string, err error) {
	t.Helper()
	var refused *pgconn.PgError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, code, refused.Code)
}

// startPostgres runs a PostgreSQL that wants TLS and SCRAM. It refuses to be root, so
// root runs it as the user that its package made.
func startPostgres(t testing.TB) (addr string) {
	t.Helper()
	initdb, server := program(t, "initdb"), program(t, "postgres")
	p, dir := newPKI(t), testkit.ServerDir(t)
	cert := writeFile(t, dir, "cert.pem", string(p.cert), 0o644)
	key := writeFile(t, dir, "key.pem", string(p.key), 0o600)
	secret := writeFile(t, dir, "password", password, 0o600)
	hba := writeFile(t, dir, "pg_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256\n", 0o644)
	as := asPostgres(t, dir, key, secret)
	data := filepath.Join(dir, "data")
	command := append(as, initdb, "-D", data, "--no-sync", "--locale=C", "--encoding=UTF8",
		"--auth=scram-sha-256", "--username="+user, "--pwfile="+secret)
	out, err := exec.CommandContext(within(t, time.Minute), command[0], command[1:]...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	addr, port := freePort(t)
	command = append(as, server, "-D", data, "-h", "127.0.0.1", "-p", port, "-k", dir, "-c", "hba_file="+hba,
		"-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+key, "-c", "fsync=off")
	start(t, addr, command[0], command[1:]...)
	ctx := within(t, 30*time.Second)
	for {
		_, err := pgx.Connect(ctx, dsn(addr, ""))
		var refused *pgconn.PgError
		require.ErrorAs(t, err, &refused)
		if refused.Code == "28000" { // it is up, and wants TLS
			return addr
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// asPostgres returns the beginning of a command that gives up root, and gives files to
// whom the command will run as.
func asPostgres(t testing.TB, files ...string) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	account, err := osuser.Lookup("postgres")
	if err != nil {
		unavailable(t, "looking for somebody to run PostgreSQL as: %v", err)
	}
	uid, err := strconv.Atoi(account.Uid)
	require.NoError(t, err)
	for _, file := range files {
		require.NoError(t, os.Chown(file, uid, -1))
	}
	as := []string{program(t, "setpriv"), "--reuid", account.Uid, "--regid", account.Gid, "--clear-groups"}
	return as[:len(as):len(as)]
}
