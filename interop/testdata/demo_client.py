"""The client of the PING/PONG demo: demo_client.py SPELLING PORT CA-FILE NAME [PAUSE]

It says PING, STARTTLS, PING and QUIT. TLS begins right behind STARTTLS, or after so many seconds.
Without a CA-FILE ("-") it stays in plaintext, and its peer upgrades for it.
"""

import asyncio
import ssl
import sys

from demo import is_secure, start_tls


async def ping(reader, writer):
    writer.write(b"PING\n")
    await writer.drain()
    print((await reader.readline()).decode().rstrip(), is_secure(writer))


async def main(spelling, port, ca, name, pause="0"):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    await ping(reader, writer)
    if ca != "-":
        context = ssl.create_default_context(cafile=ca)
        writer.write(b"STARTTLS\n")
        await asyncio.sleep(float(pause))
        reader, writer = await start_tls(spelling, reader, writer, context, False, name)
        await ping(reader, writer)
    writer.write(b"QUIT\n")
    await writer.drain()
    print("left", await reader.read())
    writer.close()


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 15))
