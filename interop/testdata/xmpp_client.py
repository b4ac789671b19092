"""An XMPP client on a bare socket, which reports what the server offers it.

xmpp_client.py PORT CA-FILE DOMAIN USER PASSWORD

It upgrades, logs in, and sends a message to itself. With - for the CA-FILE, it stays
in plaintext.
"""

import base64
import socket
import ssl
import sys
import xml.etree.ElementTree as ElementTree

STREAM = "{http://etherx.jabber.org/streams}"
TLS = "{urn:ietf:params:xml:ns:xmpp-tls}"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"


class Stream:
    """One XML stream on a connection."""

    def __init__(self, sock, domain):
        self.sock = sock
        self.parser = ElementTree.XMLPullParser(["start", "end"])
        self.depth = 0
        self.send(f"<?xml version='1.0'?><stream:stream to='{domain}' xmlns='jabber:client' "
                  "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>")

    def send(self, text):
        self.sock.sendall(text.encode())

    def elements(self):
        """Yields each element right beneath the stream's header."""
        while True:
            for event, element in self.parser.read_events():
                self.depth += 1 if event == "start" else -1
                if event == "end" and self.depth == 1:
                    yield element
            data = self.sock.recv(4096)
            if not data:
                raise SystemExit("the server closed")
            self.parser.feed(data)

    def next(self, tag):
        """Returns the next element, which must be of that kind."""
        for element in self.elements():
            if element.tag == "{jabber:client}presence" and tag != element.tag:
                continue
            if element.tag != tag:
                raise SystemExit("unexpected: " + ElementTree.tostring(element, "unicode"))
            return element

    def features(self, when):
        names = [child.tag.split("}")[1] for child in self.next(STREAM + "features")]
        print(f"features {when}:", *sorted(names), flush=True)


def secure(sock, ca, domain):
    context = ssl.create_default_context(cafile=ca)
    tls = context.wrap_socket(sock, server_hostname=domain)
    print("verified:", *(name for _, name in tls.getpeercert()["subjectAltName"]))
    return tls


def message_to_self(stream):
    stream.send("<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                "<resource>test</resource></bind></iq>")
    jid = stream.next("{jabber:client}iq").findtext(".//{urn:ietf:params:xml:ns:xmpp-bind}jid")
    print("bound:", jid)
    stream.send(f"<presence/><message to='{jid}' type='chat'><body>{'hello ' * 1000}</body></message>")
    message = stream.next("{jabber:client}message")
    print("message:", len(message.findtext("{jabber:client}body").split()), "words from", message.get("from"))


def main():
    port, ca, domain, user, password = sys.argv[1:]
    sock = socket.create_connection(("127.0.0.1", int(port)), timeout=10)
    stream = Stream(sock, domain)
    stream.features("in plaintext")
    if ca != "-":
        stream.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        stream.next(TLS + "proceed")
        sock = secure(sock, ca, domain)
        stream = Stream(sock, domain)
        stream.features("in TLS")
    login = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    stream.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{login}</auth>")
    stream.next(SASL + "success")

    stream = Stream(sock, domain)
    stream.features("after login")
    message_to_self(stream)
    stream.send("</stream:stream>")


main()
