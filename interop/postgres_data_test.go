package interop

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPostgresCopyOut reads a gigabyte through Caddy and compares it with what
// comes without Caddy. Neither side stores it.
func TestPostgresCopyOut(t *testing.T) {
	db := startPostgres(t)
	f := startPostgresFront(t, db.addr)
	rows := 1_000_000
	if testing.Short() {
		rows = 50_000
	}
	query := fmt.Sprintf("COPY (SELECT n, repeat(md5(n::text), 33) FROM generate_series(1, %d) AS n) TO STDOUT", rows)
	direct := copyOut(t, pgLogin(t, db.addr)+" sslmode=disable", query)
	through := copyOut(t, f.verified(t), query)
	t.Logf("%d bytes: %v through Caddy, %v without", through.bytes, through.took, direct.took)
	require.Greater(t, direct.bytes, int64(rows)*1000)
	require.Equal(t, direct.bytes, through.bytes)
	require.Equal(t, direct.sum, through.sum)
}

// copied sums up what a COPY has printed.
type copied struct {
	sum   string
	bytes int64
	took  time.Duration
}

func copyOut(t testing.TB, login, query string) copied {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "psql", "-X", "-c", query, login)
	var messages strings.Builder
	cmd.Stderr = &messages
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	start := time.Now()
	require.NoError(t, cmd.Start())
	hash := sha256.New()
	n, err := io.CopyBuffer(hash, out, make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), messages.String())
	return copied{sum: hex.EncodeToString(hash.Sum(nil)), bytes: n, took: time.Since(start)}
}

// TestPostgresCopyIn sends the other way, and has the server compute the sum.
func TestPostgresCopyIn(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	f := startPostgresFront(t, db.addr)
	var lines strings.Builder
	sum := sha256.New()
	for n := range 40_000 {
		line := fmt.Sprintf("%d:%s", n, strings.Repeat("0123456789abcdef", 50))
		fmt.Fprintf(&lines, "%d\t%s\n", n, line)
		io.WriteString(sum, line)
	}
	out, err := run(t, time.Minute, lines.String(), "psql", "-X", "-A", "-t",
		"-c", "CREATE TEMPORARY TABLE t (n int, line text)",
		"-c", "COPY t FROM STDIN",
		"-c", "SELECT encode(sha256(string_agg(line, '' ORDER BY n)::bytea), 'hex') FROM t", f.verified(t))
	require.NoError(t, err, out)
	require.Equal(t, "CREATE TABLE\nCOPY 40000\n"+hex.EncodeToString(sum.Sum(nil))+"\n", out)
}

// TestPostgresCancelInPlaintext interrupts psql. Up to version 16, libpq sends its
// CancelRequest without TLS, and the server takes it so whatever is demanded of logins.
func TestPostgresCancelInPlaintext(t *testing.T) {
	t.Parallel()
	need(t, "psql")
	db := startPostgres(t)
	f := startPostgresFront(t, db.addr)
	if out, err := run(t, clientTimeout, "", "psql", "--version"); err != nil || !strings.Contains(out, " 15.") {
		t.Skipf("a later psql cancels in TLS: %s", out)
	}
	f.interruptPsql(t, db, "SELECT pg_sleep(60)")
	require.Contains(t, db.Log(), "canceling statement due to user request")
}

// interruptPsql has a psql on TLS interrupted in the middle of a query, and returns
// when it has ended.
func (f *front) interruptPsql(t testing.TB, db *postgres, query string) {
	t.Helper()
	interruptPsql(t, db, f.verified(t), query)
}

func interruptPsql(t testing.TB, db *postgres, login, query string) {
	t.Helper()
	var out transcript
	cmd := exec.Command(program("psql"), "-X", "-A", "-t", "-c", query, login)
	cmd.Stdout, cmd.Stderr = &out, &out
	p := startCmd(t, cmd)
	db.awaitQuery(t, query)
	require.NoError(t, p.Signal(syscall.SIGINT))
	select {
	case <-p.Done():
	case <-time.After(clientTimeout):
		require.FailNow(t, "psql waits", out.String())
	}
	require.Contains(t, out.String(), "Cancel request sent")
}

// awaitQuery waits until the server works on a query.
func (p *postgres) awaitQuery(t testing.TB, query string) {
	t.Helper()
	ask := "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '" + query + "'"
	eventually(t, clientTimeout, "the query to run", func() bool {
		out, err := p.psql(t, ask)
		require.NoError(t, err, out)
		return out == "1\n"
	})
}

// TestPostgresCancelInTLS cancels as libpq 17 and later do: by an upgraded connection
// of its own.
func TestPostgresCancelInTLS(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	f := startPostgresFront(t, db.addr)
	session := f.upgradePostgres(t)
	session.send(pgStartup(pgGuest))
	key := session.awaitMessage('K')
	session.awaitMessage('Z')
	const query = "SELECT pg_sleep(60)"
	session.send("Q" + string(binary.BigEndian.AppendUint32(nil, uint32(4+len(query)+1))) + query + "\x00")
	db.awaitQuery(t, query)

	canceller := f.upgradePostgres(t)
	canceller.send("\x00\x00\x00\x10\x04\xd2\x16\x2e" + key)
	require.Empty(t, readRest(t, canceller.Conn), "the protocol knows no answer to this")
	require.Contains(t, session.awaitMessage('E'), "C57014\x00")
	require.Contains(t, db.Log(), "canceling statement")
	session.awaitMessage('Z')
}

// pgSSLRequest asks for the upgrade.
const pgSSLRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"

// pgStartup is the StartupMessage with which a user logs in.
func pgStartup(user string) string {
	text := "\x00\x03\x00\x00user\x00" + user + "\x00database\x00postgres\x00\x00"
	return string(binary.BigEndian.AppendUint32(nil, uint32(4+len(text)))) + text
}

// pgSession is a client of the protocol by hand, on TLS.
type pgSession struct {
	t testing.TB
	*tls.Conn
	in *bufio.Reader
}

func (f *front) upgradePostgres(t testing.TB) *pgSession {
	t.Helper()
	raw, err := net.DialTimeout("tcp", f.addr, 5*time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { raw.Close() })
	require.NoError(t, raw.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = io.WriteString(raw, pgSSLRequest)
	require.NoError(t, err)
	answer := make([]byte, 1)
	_, err = io.ReadFull(raw, answer)
	require.NoError(t, err)
	require.Equal(t, "S", string(answer))
	conn := tls.Client(raw, &tls.Config{ServerName: f.host, RootCAs: f.pool(t)})
	require.NoError(t, conn.Handshake())
	return &pgSession{t: t, Conn: conn, in: bufio.NewReader(conn)}
}

// pool returns the roots for a client in Go.
func (c *caddyServer) pool(t testing.TB) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(c.Root())
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(text))
	return pool
}

func (s *pgSession) send(message string) {
	s.t.Helper()
	_, err := io.WriteString(s.Conn, message)
	require.NoError(s.t, err)
}

// awaitMessage reads up to a message of the given kind and returns its content.
func (s *pgSession) awaitMessage(kind byte) string {
	s.t.Helper()
	for {
		head := make([]byte, 5)
		_, err := io.ReadFull(s.in, head)
		require.NoError(s.t, err, "waiting for %q", kind)
		content := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		_, err = io.ReadFull(s.in, content)
		require.NoError(s.t, err, "waiting for %q", kind)
		if head[0] == kind {
			return string(content)
		}
	}
}

// TestPostgresManySessions has several clients connect again and again, and then
// counts what is left of them.
func TestPostgresManySessions(t *testing.T) {
	t.Parallel()
	pgbench := postgresProgram(t, "pgbench")
	db := startPostgres(t)
	f := startPostgresFront(t, db.addr)
	script := writeFile(t, t.TempDir(), "script.sql", "SELECT repeat('x', 100000);\n")
	out, err := run(t, time.Minute, "", pgbench, "--no-vacuum", "--connect", "--client=4", "--jobs=2",
		"--transactions=20", "--file="+script, f.verified(t))
	require.NoError(t, err, out)
	require.Contains(t, out, "number of transactions actually processed: 80/80")
	eventually(t, 5*time.Second, "the sessions to end", func() bool {
		out, err := db.psql(t, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
		require.NoError(t, err, out)
		return out == "1\n" // the one that asks
	})
}
