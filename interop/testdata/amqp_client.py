"""A client of AMQP 1.0 on Qpid Proton, with TLS from the first byte: url root. Without a root it stays in plaintext."""
import sys

from proton import Message, SSLDomain
from proton.utils import BlockingConnection

url, root = sys.argv[1:3]
domain = None
if root:
    domain = SSLDomain(SSLDomain.MODE_CLIENT)
    domain.set_trusted_ca_db(root)
    domain.set_peer_authentication(SSLDomain.VERIFY_PEER_NAME, root)
connection = BlockingConnection(url, ssl_domain=domain, timeout=20, user="alice", password="secret",
                                allowed_mechs="PLAIN", allow_insecure_mechs=True)
sender = connection.create_sender("/queue/proton")
receiver = connection.create_receiver("/queue/proton")
for body in "hello", "", "0123456789" * 100000:
    sender.send(Message(body=body))
    received = receiver.receive(timeout=20)
    receiver.accept()
    assert received.body == body, len(received.body)
    print("received", len(body), "characters")
connection.close()
