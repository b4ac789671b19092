"""Posts an article with Python's own client, after an upgrade to TLS, and reads it back.

news.py PORT CA-FILE USER PASSWORD GROUP

With - for the CA-FILE, there is no upgrade. The server is localhost, because that is the
name that the client verifies. What it learnt goes to standard output.
"""

import ssl
import sys
import time
import warnings

warnings.simplefilter("ignore")
import nntplib  # noqa: E402

port, ca, user, password, group = sys.argv[1:]
news = nntplib.NNTP("localhost", int(port), timeout=15)
print("greeting:", news.getwelcome()[:3])
if ca != "-":
    news.starttls(ssl.create_default_context(cafile=ca))
    print("verified:", *(name for _, name in news.sock.getpeercert()["subjectAltName"]))
print("capabilities:", *sorted(news.getcapabilities()))
news.login(user, password)
print("after the login:", "STARTTLS" in news.getcapabilities())

body = [b"STARTTLS", b".", b"..", b"QUIT"]
ident = b"<%d@example.com>" % time.time_ns()
head = [b"From: a@example.com", b"Newsgroups: " + group.encode(), b"Subject: hello", b"Message-ID: " + ident, b""]
print("posted:", news.post(head + body)[:3])
for _ in range(100):
    if news.group(group)[1] > 0:
        break
    time.sleep(0.1)
_, info = news.body(ident.decode())
print("read:", info.lines == body)
_, overviews = news.over((1, None))
print("overview:", [o["subject"] for _, o in overviews])
print("quit:", news.quit()[:3])
