"""Sends or reads a mail with Python's own clients, after an upgrade to TLS.

mail.py smtp|lmtp|imap|pop3 PORT CA-FILE USER PASSWORD ADDRESS [FILE]

With - for the CA-FILE, there is no upgrade.
The server is localhost, because that is the name that the clients verify. smtp
and lmtp send FILE, imap and pop3 read the first mail into it. What they learnt
about the server goes to standard output.
"""

import imaplib
import poplib
import smtplib
import ssl
import sys

# A mail of 25 MB is one line of output to these modules, or many.
imaplib._MAXLINE = poplib._MAXLINE = 1 << 20


def report(sock, capabilities):
    if isinstance(sock, ssl.SSLSocket):
        print("verified:", *(name for _, name in sock.getpeercert()["subjectAltName"]))
    print("capabilities:", *sorted(name.upper() for name in capabilities))


def send(client, context, address, path, login=None):
    if context:
        client.starttls(context=context)
    client.ehlo_or_helo_if_needed()
    report(client.sock, client.esmtp_features)
    if login:
        client.login(*login)
    with open(path, "rb") as file:
        client.sendmail(address, [address], file.read())
    client.quit()


def read_imap(client, context, path, login):
    if context:
        client.starttls(ssl_context=context)
    report(client.sock, client.capabilities)
    client.login(*login)
    client.select("INBOX", readonly=True)
    _, data = client.fetch("1", "(BODY.PEEK[])")
    with open(path, "wb") as file:
        file.write(data[0][1])
    client.logout()


def read_pop3(client, context, path, login):
    if context:
        client.stls(context=context)
    report(client.sock, client.capa())
    client.user(login[0])
    client.pass_(login[1])
    with open(path, "wb") as file:
        file.write(b"".join(line + b"\r\n" for line in client.retr(1)[1]))
    client.quit()


def main():
    protocol, port, ca, user, password, address, path = sys.argv[1:]
    context = None if ca == "-" else ssl.create_default_context(cafile=ca)
    where, login = ("localhost", int(port)), (user, password)
    if protocol == "smtp":
        send(smtplib.SMTP(*where, "client.example"), context, address, path, login)
    elif protocol == "lmtp":
        send(smtplib.LMTP(*where, "client.example"), context, address, path)
    elif protocol == "imap":
        read_imap(imaplib.IMAP4(*where), context, path, login)
    elif protocol == "pop3":
        read_pop3(poplib.POP3(*where), context, path, login)


main()
