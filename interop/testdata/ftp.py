"""Transfers a file with Python's own client. Arguments: the port, a file with the CA, user, password, a directory on the
server, a file, and how: "pasv", "epsv" or "reuse", which resumes the TLS session on data connections, as some servers demand."""

import ftplib
import hashlib
import socket
import ssl
import sys

port, ca, user, password, directory, name, how = sys.argv[1:]
reused = []


class Client(ftplib.FTP_TLS):
    def makepasv(self):
        if how == "pasv":
            return super().makepasv()
        return self.host, ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())[1]

    def ntransfercmd(self, cmd, rest=None):
        if how != "reuse":
            return super().ntransfercmd(cmd, rest)
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        conn = self.context.wrap_socket(conn, server_hostname=self.host, session=self.sock.session)
        reused.append(conn.session_reused)
        return conn, size


ftp = Client(context=ssl.create_default_context(cafile=ca), timeout=30)
ftp.af = socket.AF_INET
print("greeting:", ftp.connect("localhost", int(port))[:3])
ftp.login(user, password)
ftp.cwd(directory)
try:
    ftp.nlst()
    print("in plaintext: yes")
except ftplib.error_perm as e:
    print("in plaintext:", str(e)[:3])
ftp.prot_p()
with open(name, "rb") as f:
    print("stored:", ftp.storbinary("STOR python", f)[:3])
content = open(name, "rb").read()
for rest in (0, 1000):
    got = hashlib.sha256()
    print("retrieved:", ftp.retrbinary("RETR python", got.update, rest=rest or None)[:3])
    print("the same:", got.hexdigest() == hashlib.sha256(content[rest:]).hexdigest())
print("listed:", "python" in ftp.nlst())
try:
    ftp.ccc()
    print("ccc: yes")
except ftplib.error_perm as e:
    print("ccc:", str(e)[:3])
ftp.set_pasv(False)
try:
    ftp.nlst()
    print("active: yes")
except ftplib.error_perm as e:
    print("active:", str(e)[:3])
print("reused:", reused and all(reused))
print("quit:", ftp.quit()[:3])
