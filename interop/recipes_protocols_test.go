package interop

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExampleBroker has clients that begin with TLS and that negotiate it. RabbitMQ learns who they are.
func TestExampleBroker(t *testing.T) {
	t.Parallel()
	need(t, "/usr/bin/python3")
	rabbit, server := startRabbitMQ(t, "[rabbitmq_amqp1_0]", "proxy_protocol = true")
	direct, addr := freeAddr(t), freeAddr(t)
	c := startExample(t, "broker", "", map[string]string{
		":5671": direct, ":5672": addr, amqpHost: amqpHost + " localhost", "127.0.0.1:5673": rabbit,
	}, []string{amqpHost, "localhost"}, direct, addr)
	requireAMQPExchanges(t, addr, c.Root())
	out, err := run(t, clientTimeout, "", "/usr/bin/python3", "testdata/amqp_client.py", "amqps://localhost:"+port(t, direct), c.Root())
	require.NoError(t, err, out)
	require.Contains(t, out, "received 1000000 characters")
	require.Regexp(t, `accepting AMQP connection <[0-9.]+> \(127\.0\.0\.1:\d+ -> 127\.0\.0\.1:`+port(t, addr)+`\)`, server.Log(),
		"the connection's other end is Caddy's, as the header of the PROXY protocol says")
}

// TestExampleDesktop has viewers of either kind.
func TestExampleDesktop(t *testing.T) {
	t.Parallel()
	v, ca := newVNCViewer(t), newAuthority(t)
	addr, outwards := freeAddr(t), freeAddr(t)
	c := startExample(t, "desktop", "", map[string]string{
		":5900": addr, "vnc.example.com": "localhost", "127.0.0.1:5901": startXvnc(t, "VncAuth"), "127.0.0.1:5902": outwards,
		"vnc.example.net:5900": startXvnc(t, "X509Vnc", xvncTLS(t, ca)...), "vnc.example.net": upHost + "\n\t\t\t\t\ttls_trust_pool file " + ca.file,
	}, []string{"localhost"}, addr, outwards)
	v.requireShows(t, addr, c.Root(), "X509Vnc")
	v.requireEnds(t, addr, c.Root(), "VncAuth,None", vncPassword, "No matching security types")
	v.requireShows(t, outwards, c.Root(), "VncAuth")
}

// TestExampleSQLServer has clients that verify the name.
func TestExampleSQLServer(t *testing.T) {
	t.Parallel()
	_, backend := startTDS(t)
	addr := freeAddr(t)
	c := startExample(t, "sqlserver", "", map[string]string{":1433": addr, tdsHost: "localhost " + tdsHost, "127.0.0.1:14330": backend},
		[]string{"localhost", tdsHost}, addr)
	for _, encrypt := range []string{"true", "strict"} {
		out, err := goMSSQL(t, addr, encrypt, tdsPassword, c.Root(), "SELECT 'grüße'")
		require.NoError(t, err, out)
		require.Contains(t, out, "grüße")
	}
	out, err := freeTDS(t, "tsql", addr, "require", tdsPassword, c.Root(), "SELECT 'hello'")
	require.NoError(t, err, out)
	require.Contains(t, out, "hello")
}

// TestExampleCluster has a client resume its session at the other Caddy.
func TestExampleCluster(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	storage, backend := filepath.Join(t.TempDir(), "storage"), startQuitter(t)
	var clients [2]mailClient
	for i := range clients {
		client := mailClient{addr: freeAddr(t), host: mailHost}
		config := exampleConfig(t, "cluster", "http_port "+port(t, freeAddr(t))+"\nhttps_port "+port(t, freeAddr(t))+"\ndefault_bind 127.0.0.1", map[string]string{
			"storage file_system /mnt/shared/caddy": "", ":587": client.addr, "10.0.0.20:10587": backend,
		})(storage)
		c := runCaddy(t, caddyBinary(t), storage, "--config", withTicketKeys(t, config))
		c.await(t, []string{mailHost}, client.addr)
		client.roots = c.Root()
		clients[i] = client
	}
	require.Equal(t, clients[0].serial(t), clients[1].serial(t))
	session := filepath.Join(t.TempDir(), "session")
	require.Contains(t, clients[0].connect(t, "-sess_out", session), "\nNew, TLSv1.")
	require.Contains(t, clients[1].connect(t, "-sess_in", session), "\nReused, TLSv1.")
}

// withTicketKeys is what the example's README does with jq.
func withTicketKeys(t testing.TB, caddyfile string) (file string) {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command(caddyBinary(t), "adapt", "--adapter", "caddyfile", "--config", writeFile(t, dir, "Caddyfile", caddyfile)).Output()
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, json.Unmarshal(out, &config))
	config["apps"].(map[string]any)["tls"].(map[string]any)["session_tickets"] = map[string]any{"key_source": map[string]any{"provider": "distributed"}}
	text, err := json.Marshal(config)
	require.NoError(t, err)
	return writeFile(t, dir, "caddy.json", string(text))
}
