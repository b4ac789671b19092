package interop

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// startFrontBefore is startFront with the handlers that come behind.
func startFrontBefore(t testing.TB, proto string, hosts []string, handlers string, options ...string) *front {
	t.Helper()
	f := &front{proto: proto, host: hosts[0], addr: freeAddr(t)}
	config := fmt.Sprintf(`%s {
		route {
			starttls %s %s {
				%s
			}
			%s
		}
	}`, f.addr, proto, strings.Join(hosts, " "), strings.Join(options, "\n"), handlers)
	f.caddyServer = startCaddy(t, config, hosts, f.addr)
	return f
}

func splitAddr(t testing.TB, addr string) (host, number string) {
	t.Helper()
	host, number, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return host, number
}

func matches(pattern, text string) bool { return regexp.MustCompile(pattern).MatchString(text) }

// startPostfixWith runs a Postfix with further settings and services.
func startPostfixWith(t testing.TB, d *dovecot, settings, services string) (addr, log string) {
	t.Helper()
	need(t, "postfix", "master")
	needRoot(t)
	addr = freeAddr(t)
	dir := serverDir(t)
	log = filepath.Join(dir, "log")
	postfixQueue(t, dir)
	writeFile(t, dir, "etc/main.cf", mainCF(dir, d, settings))
	writeFile(t, dir, "etc/master.cf", masterCF(addr)+services)
	showOnFailure(t, log)
	startProcess(t, "master", "-d", "-c", filepath.Join(dir, "etc"))
	waitTCP(t, addr)
	return addr, log
}

// lastOfEach drops settings that later ones override. Postfix warns of those, its
// logger does so through its own full socket, and then everything waits for it.
func lastOfEach(mainCF string) string {
	lines := strings.Split(mainCF, "\n")
	seen := make(map[string]bool)
	var kept []string
	for _, line := range slices.Backward(lines) {
		name, _, ok := strings.Cut(line, " =")
		if ok && seen[name] {
			continue
		}
		seen[name] = true
		kept = append(kept, line)
	}
	slices.Reverse(kept)
	return strings.Join(kept, "\n")
}
