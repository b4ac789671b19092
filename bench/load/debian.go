package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// present finds a program of Debian's, and notes one that is not there.
func (l *lab) present(name, its string) string {
	path := program(name)
	if path == "" {
		l.absent = append(l.absent, its)
	}
	return path
}

const nginxConfig = `%s
daemon off;
worker_processes 2;
worker_rlimit_nofile 20000;
error_log stderr error;
pid %[2]s/nginx.pid;
events { worker_connections 19000; }
mail {
	server_name mail.example.com;
	auth_http %[3]s/;
	ssl_certificate %[2]s/cert.pem;
	ssl_certificate_key %[2]s/key.pem;
	ssl_protocols TLSv1.3;
	ssl_ecdh_curve X25519;
	starttls on;
	proxy on;
	timeout 10m;
	server { listen %[4]s; protocol smtp; smtp_auth none; xclient off; }
	server { listen %[5]s; protocol imap; imap_auth plain; }
	server { listen %[6]s; protocol pop3; pop3_auth plain; }
}
`

// addNginx has nginx's mail module, which dials a backend once the client has named a recipient
// or has logged in.
func (l *lab) addNginx() error {
	const module = "/usr/lib/nginx/modules/ngx_mail_module.so"
	nginx := l.present("nginx", "nginx with its mail module")
	if nginx == "" {
		return nil
	}
	load := ""
	if _, err := os.Stat(module); err == nil {
		load = "load_module " + module + ";"
	}
	targets := []*target{
		{name: "nginx mail, smtp, MAIL and RCPT", talk: smtpMail, address: freeAddress(), parts: "ctm", moves: []string{"raw-up", "raw-down"}},
		{name: "nginx mail, imap, LOGIN", talk: imapLogin, address: freeAddress(), parts: "c"},
		{name: "nginx mail, pop3, PASS", talk: pop3Login, address: freeAddress(), parts: "c"},
	}
	file, err := l.file("nginx.conf", fmt.Sprintf(nginxConfig, load, l.dir, l.backend.auth, targets[0].address, targets[1].address, targets[2].address))
	l.add(&process{name: nginx, args: []string{"-c", file, "-p", l.dir}, version: version(nginx, "-v"), ready: []string{targets[0].address}}, targets...)
	return err
}

const stunnelConfig = `foreground = yes
debug = err
pid =
cert = %[1]s/cert.pem
key = %[1]s/key.pem
curves = X25519
TIMEOUTidle = 600
[smtp]
accept = %[2]s
connect = %[3]s
protocol = smtp
`

func (l *lab) addStunnel() error {
	stunnel := l.present("stunnel4", "stunnel")
	if stunnel == "" {
		return nil
	}
	t := &target{name: "stunnel, smtp", talk: smtp, address: freeAddress(), parts: "ctm", moves: []string{"raw-up", "raw-down"}}
	file, err := l.file("stunnel.conf", fmt.Sprintf(stunnelConfig, l.dir, t.address, l.backend.smtp))
	l.add(&process{name: stunnel, args: []string{file}, version: version("dpkg-query", "-W", "stunnel4"), ready: []string{t.address}}, t)
	return err
}

const haproxyConfig = `global
	nbthread 2
	maxconn 9900
	ssl-default-bind-options ssl-min-ver TLSv1.3
	ssl-default-bind-curves X25519
defaults
	mode tcp
	timeout connect 10s
	timeout client 10m
	timeout server 10m
frontend implicit
	bind %[2]s ssl crt %[1]s/both.pem
	default_backend server
backend server
	server server %[3]s
`

func (l *lab) addHAProxy() error {
	haproxy := l.present("haproxy", "HAProxy")
	if haproxy == "" {
		return nil
	}
	t := &target{name: "HAProxy, implicit TLS", talk: implicit, address: freeAddress(), parts: "ctm", moves: []string{"raw-up", "raw-down"}}
	file, err := l.file("haproxy.cfg", fmt.Sprintf(haproxyConfig, l.dir, t.address, l.backend.smtp))
	l.add(&process{name: haproxy, args: []string{"-db", "-f", file}, version: version(haproxy, "-v"), ready: []string{t.address}}, t)
	return err
}

const pgbouncerConfig = `[databases]
bench = host=%[2]s port=%[3]s dbname=bench user=bench
[pgbouncer]
listen_addr = %[4]s
listen_port = %[5]s
unix_socket_dir =
auth_type = trust
auth_file = %[1]s/users.txt
client_tls_sslmode = require
client_tls_cert_file = %[1]s/cert.pem
client_tls_key_file = %[1]s/key.pem
client_tls_protocols = tlsv1.3
pool_mode = session
max_client_conn = 9900
default_pool_size = 9900
max_db_connections = 9900
log_connections = 0
log_disconnections = 0
%[6]s
`

// addPgBouncer has PgBouncer, which keeps its connections to the backend for the next clients.
func (l *lab) addPgBouncer() error {
	pgbouncer := l.present("pgbouncer", "PgBouncer")
	if pgbouncer == "" {
		return nil
	}
	t := &target{name: "PgBouncer, postgres", talk: postgres, address: freeAddress(), parts: "cm"}
	host, port, _ := net.SplitHostPort(t.address)
	backendHost, backendPort, _ := net.SplitHostPort(l.backend.postgres)
	user := ""
	if os.Getuid() == 0 {
		user = "user = nobody" // it does not run as root
	}
	_, err := l.file("users.txt", `"bench" ""`+"\n")
	if err != nil {
		return err
	}
	file, err := l.file("pgbouncer.ini", fmt.Sprintf(pgbouncerConfig, l.dir, backendHost, backendPort, host, port, user))
	v := strings.TrimSpace(version(pgbouncer, "-V"))
	l.add(&process{name: pgbouncer, args: []string{file}, version: v, ready: []string{t.address}}, t)
	return err
}
