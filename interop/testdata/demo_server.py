"""The server of the PING/PONG demo: demo_server.py SPELLING PORT CERT KEY

It answers PING with PONG, starts TLS behind STARTTLS, and ends behind QUIT.
"""

import asyncio
import ssl
import sys

from demo import is_secure, start_tls


async def serve(spelling, context, reader, writer):
    while True:
        request = (await reader.readline()).decode().rstrip()
        print(request, is_secure(writer), flush=True)
        if request == "PING":
            writer.write(b"PONG\n")
            await writer.drain()
        elif request == "STARTTLS":
            reader, writer = await start_tls(spelling, reader, writer, context, True)
        else:
            break
    writer.close()


async def main(spelling, port, cert, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    # The streams are kept: what belongs to a writer that is collected would be closed.
    server = await asyncio.start_server(
        lambda reader, writer: serve(spelling, context, reader, writer), "127.0.0.1", int(port)
    )
    async with server:
        await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
