"""A client that talks in plaintext first and upgrades the connection when it likes.

line_client.py PORT HOST CA-FILE COMMAND [REPLY]

It sends COMMAND to ask for TLS. Without a REPLY it begins the handshake at once.
"""

import asyncio
import ssl
import sys


async def ask(reader, writer, line):
    writer.write(line.encode() + b"\n")
    await writer.drain()
    return (await reader.readline()).decode().rstrip("\n")


async def main():
    port, host, ca, command, *reply = sys.argv[1:]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    print("in plaintext:", await ask(reader, writer, "PING"))

    if reply:
        answer = await ask(reader, writer, command)
        if answer != reply[0]:
            raise SystemExit(f"unexpected: {answer!r}")
    else:
        writer.write(command.encode() + b"\n")
    context = ssl.create_default_context(cafile=ca)
    await writer.start_tls(context, server_hostname=host)
    certificate = writer.get_extra_info("peercert")
    print("verified:", *(name for _, name in certificate["subjectAltName"]))

    print("in TLS:", await ask(reader, writer, "PING"))
    writer.write(b"QUIT\n")
    if await reader.read() == b"":
        print("the end")


asyncio.run(asyncio.wait_for(main(), 15))
