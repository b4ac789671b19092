"""Fetches a file with Python's own client, and says how many octets came. Arguments: the port, a file
with the CA, user, password, the file, and how data connections are made: "reuse" resumes the TLS session, "anew" does not,
and "elsewhere" first has somebody try who comes from another address."""

import ftplib
import socket
import ssl
import sys

port, ca, user, password, name, how = sys.argv[1:]


def heard(conn):
    try:
        return conn.recv(1)
    except ConnectionError:
        return b""


class Client(ftplib.FTP_TLS):
    def ntransfercmd(self, cmd, rest=None):
        host, data_port = self.makepasv()
        if how == "elsewhere":
            with socket.create_connection((host, data_port), 10, source_address=("127.0.0.2", 0)) as other:
                print("another address:", heard(other))
        conn = socket.create_connection((host, data_port), 10)
        self.sendcmd(cmd)
        session = self.sock.session if how == "reuse" else None
        return self.context.wrap_socket(conn, server_hostname=self.host, session=session), None


ftp = Client(context=ssl.create_default_context(cafile=ca), timeout=30)
ftp.af = socket.AF_INET
ftp.connect("localhost", int(port))
ftp.login(user, password)
ftp.prot_p()
got = bytearray()
try:
    print("%s, %d octets" % (ftp.retrbinary("RETR " + name, got.extend)[:3], len(got)))
except (OSError, EOFError):
    print("refused, %d octets" % len(got))
