"""Two users of two XMPP servers that send each other a message.

xmpp_federation.py PASSWORD PORT-A DOMAIN-A PORT-B DOMAIN-B

Both log in as alice, in plaintext. What the other one gets goes to standard output.
"""

import base64
import socket
import sys
import xml.etree.ElementTree as ElementTree

password = sys.argv[1]


class User:
    """A session of alice's with one server."""

    def __init__(self, port, domain):
        self.domain = domain
        self.sock = socket.create_connection(("127.0.0.1", int(port)), timeout=60)
        self.open()
        self.next("features")
        login = base64.b64encode(b"\0alice\0" + password.encode()).decode()
        self.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{login}</auth>")
        self.next("success")
        self.open()
        self.next("features")
        self.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>test</resource></bind></iq>")
        self.next("iq")
        self.send("<presence/>")
        self.next("presence")

    def open(self):
        self.parser, self.depth = ElementTree.XMLPullParser(["start", "end"]), 0
        self.send(f"<?xml version='1.0'?><stream:stream to='{self.domain}' xmlns='jabber:client' "
                  "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>")

    def send(self, text):
        self.sock.sendall(text.encode())

    def next(self, tag):
        """Returns the next element, which must be of that kind."""
        while True:
            for event, element in self.parser.read_events():
                self.depth += 1 if event == "start" else -1
                if event == "end" and self.depth == 1:
                    if not element.tag.endswith("}" + tag):
                        raise SystemExit("unexpected: " + ElementTree.tostring(element, "unicode"))
                    return element
            data = self.sock.recv(4096)
            if not data:
                raise SystemExit("the server closed")
            self.parser.feed(data)

    def tell(self, other, text):
        self.send(f"<message to='alice@{other.domain}/test' id='m'><body>{text}</body></message>")
        message = other.next("message")
        if message.get("type") == "error":
            raise SystemExit("refused: " + ElementTree.tostring(message, "unicode"))
        print(message.get("from"), message.findtext("{jabber:client}body"), flush=True)


a, b = User(*sys.argv[2:4]), User(*sys.argv[4:6])
a.tell(b, "hello " + "x" * 20000)
b.tell(a, "and to you")
