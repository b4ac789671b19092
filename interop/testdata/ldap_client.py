"""Uses a directory through Python's client library, and reports what came of it.

ldap_client.py HOST PORT CA-FILE USER PASSWORD
"""

import ssl
import sys

import ldap3

host, port, ca, user, password = sys.argv[1:]
tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=ca, sni=host)
server = ldap3.Server(host, int(port), tls=tls, mode=ldap3.IP_V4_PREFERRED, get_info=ldap3.NONE)
connection = ldap3.Connection(server, user, password, auto_bind=ldap3.AUTO_BIND_TLS_BEFORE_BIND)
print("whoami:", connection.extend.standard.who_am_i())
connection.search(user, "(objectClass=person)", ldap3.BASE, attributes=["sn"])
print("sn:", connection.entries[0].sn)
connection.search(user, "(objectClass=person)", ldap3.LEVEL, attributes=["sn"])
print("friends:", len(connection.entries))
connection.unbind()
