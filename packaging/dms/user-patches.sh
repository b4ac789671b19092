#!/bin/bash
# docker-mailserver runs this when it starts. It adds services of Postfix for Caddy alone: they
# have no TLS, and take the client's address from the PROXY protocol.
set -e

service() {
	local port=$1 name=$2
	shift 2
	postconf -M "$port/inet=$port inet n - n - - smtpd"
	postconf -P "$port/inet/syslog_name=postfix/$name" \
		"$port/inet/smtpd_upstream_proxy_protocol=haproxy" \
		"$port/inet/smtpd_tls_security_level=none" "$@"
}

# Mail from other servers.
service 12525 mx-caddy \
	12525/inet/smtpd_sasl_auth_enable=no \
	12525/inet/smtpd_relay_restrictions=reject_unauth_destination

# Mail of users.
service 12587 submission-caddy \
	12587/inet/smtpd_tls_auth_only=no \
	12587/inet/smtpd_sasl_auth_enable=yes \
	12587/inet/smtpd_client_restrictions=permit_sasl_authenticated,reject \
	12587/inet/smtpd_relay_restrictions=permit_sasl_authenticated,reject
