"""Logs in with a client library that is in use, and sends a message to itself.

xmpp_slixmpp.py PORT CA-FILE USER PASSWORD

With - for the CA-FILE, it stays in plaintext.
"""

import asyncio
import sys

import slixmpp

port, ca, user, password = sys.argv[1:]


class Client(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(user, password)
        self.ca_certs = None if ca == "-" else ca
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.received)
        for event in ("connection_failed", "failed_auth", "ssl_invalid_chain", "stream_error"):
            self.add_event_handler(event, lambda data, event=event: print(event, data))

    def start(self, _):
        tls = self.transport.get_extra_info("ssl_object")
        print("session:", self.boundjid.bare, tls.version() if tls else "in plaintext")
        self.send_presence()
        self.send_message(self.boundjid.full, "hello")

    def received(self, message):
        print("message:", message["body"], "from", message["from"].bare)
        self.disconnect()


client = Client()
client.connect(("127.0.0.1", int(port)), force_starttls=ca != "-", disable_starttls=ca == "-")
client.loop.run_until_complete(asyncio.wait_for(client.disconnected, 15))
