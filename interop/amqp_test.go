package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// amqpHost is the name that clients of AMQP verify.
const amqpHost = "amqp.example.com"

const (
	amqpTLSHeader  = "AMQP\x02\x01\x00\x00"
	amqpSASLHeader = "AMQP\x03\x01\x00\x00"
	amqpBareHeader = "AMQP\x00\x01\x00\x00"
	amqp091Header  = "AMQP\x00\x00\x09\x01"
)

// amqpTools has the client that negotiates the TLS layer.
var amqpTools = build{module: "testdata/amqp", packages: []string{"."}}

// amqpTalk has that client send and receive messages. Without a root it stays in plaintext.
func amqpTalk(t testing.TB, addr, root string) (string, error) {
	t.Helper()
	dir, err := amqpTools.programs()
	if err != nil {
		unavailable(t, "%v", err)
	}
	return run(t, clientTimeout, "", filepath.Join(dir, "amqp"), addr, root, amqpHost)
}

// rabbitSettings have one user, and no listener but this.
const rabbitSettings = `listeners.tcp.1 = %s
default_user = alice
default_pass = secret
`

// startRabbitMQ runs a RabbitMQ without TLS, with AMQP 1.0 if it has the plugin for it. The nodes of Erlang find each other by
// epmd, which is one of its own, or RabbitMQ would leave one behind.
func startRabbitMQ(t testing.TB, plugins string, settings ...string) (addr string, server *process) {
	t.Helper()
	const program = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	need(t, program, "epmd")
	addr = freeAddr(t)
	dir, epmd := serverDir(t), freeAddr(t)
	startProcess(t, "epmd", "-address", "127.0.0.1", "-port", port(t, epmd))
	waitTCP(t, epmd)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(),
		"HOME="+dir, "ERL_EPMD_PORT="+port(t, epmd), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=test"+port(t, addr)+"@localhost", "RABBITMQ_DIST_PORT="+port(t, freeAddr(t)),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"), "RABBITMQ_LOGS=-", "RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+writeFile(t, dir, "plugins", plugins+".\n"),
		"RABBITMQ_CONFIG_FILE="+writeFile(t, dir, "rabbitmq.conf", fmt.Sprintf(rabbitSettings, addr)+strings.Join(settings, "\n")),
	)
	server = startCmd(t, cmd)
	waitTCP(t, addr)
	return addr, server
}

// requireAMQPExchanges has the client with the TLS layer send and receive all its messages.
func requireAMQPExchanges(t testing.TB, addr, root string) {
	t.Helper()
	out, err := amqpTalk(t, addr, root)
	require.NoError(t, err, out)
	require.Contains(t, out, "received 1000000 octets")
}

// Clients with the TLS layer, with TLS from the first byte, and in plaintext, in front of and behind Caddy.
func TestAMQP(t *testing.T) {
	t.Parallel()
	rabbit, _ := startRabbitMQ(t, "[rabbitmq_amqp1_0]")
	requireAMQPExchanges(t, rabbit, "")
	f := startFront(t, "amqp", []string{amqpHost, "localhost"}, rabbit, "implicit_tls")
	optional := startFront(t, "amqp", []string{amqpHost}, rabbit, "policy optional", "allow_plaintext_auth")
	root := &authority{file: f.Root()}
	r := startRoutes(t, nil, map[string]string{
		"upstream": upgradeUpstream("amqp", f.addr, amqpHost, root),
		"other":    upgradeUpstream("amqp", f.addr, amqpHost, newAuthority(t)),
		"none":     upgradeUpstream("amqp", rabbit, amqpHost, root),
	})
	t.Run("the TLS layer", func(t *testing.T) {
		requireAMQPExchanges(t, f.addr, f.Root())
		out, err := amqpTalk(t, f.addr, newAuthority(t).file)
		require.Error(t, err, out)
		require.Contains(t, out, "certificate")
	})
	t.Run("TLS from the first byte", func(t *testing.T) {
		need(t, "/usr/bin/python3")
		out, err := run(t, clientTimeout, "", "/usr/bin/python3", "testdata/amqp_client.py", "amqps://localhost:"+port(t, f.addr), f.Root())
		require.NoError(t, err, out)
		require.Contains(t, out, "received 1000000 characters")
	})
	t.Run("plaintext", func(t *testing.T) {
		out, err := amqpTalk(t, f.addr, "")
		require.Error(t, err, out)
		require.Contains(t, out, "unexpected protocol header 0x2")
		for _, header := range []string{amqpSASLHeader, amqpBareHeader, amqp091Header} {
			require.Equal(t, amqpTLSHeader, plainReply(t, f.addr, header))
		}
	})
	t.Run("optional", func(t *testing.T) {
		requireAMQPExchanges(t, optional.addr, "")
		requireAMQPExchanges(t, optional.addr, optional.Root())
	})
	t.Run("upstream", func(t *testing.T) {
		requireAMQPExchanges(t, r.addr["upstream"], "")
		for way, words := range map[string]string{"other": "Upstream certificate could not be verified", "none": "Upstream does not offer TLS"} {
			require.Contains(t, plainReply(t, r.addr[way], amqpBareHeader), words)
		}
	})
	t.Run("probe", func(t *testing.T) {
		status, report := probeJSON(t, "amqp", f.addr, "--ca", f.Root(), "--server-name", amqpHost)
		require.Zero(t, status, "%+v", report)
		require.Equal(t, "verified", report.Outcome)
		status, report = probeJSON(t, "amqp", rabbit)
		require.NotZero(t, status, "%+v", report)
		require.Equal(t, "not offered", report.Outcome)
	})
}
