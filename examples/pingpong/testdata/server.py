"""Answers PING with PONG, to one client: server.py CERT KEY. Prints its port first."""
import asyncio
import ssl
import sys


async def serve(reader, writer, context):
    while line := await reader.readline():
        print(line.decode().strip(), writer.get_extra_info("cipher") is not None)
        if line == b"PING\n":
            writer.write(b"PONG\n")
            await writer.drain()
        elif line == b"STARTTLS\n":
            await writer.start_tls(context)
        else:
            break
    writer.close()


async def main(cert, key):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    done = asyncio.Event()

    async def connected(reader, writer):
        await serve(reader, writer, context)
        done.set()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await done.wait()


asyncio.run(main(sys.argv[1], sys.argv[2]))
