"""PING, STARTTLS, PING, QUIT: client.py PORT CA NAME"""
import asyncio
import ssl
import sys


async def ping(reader, writer):
    writer.write(b"PING\n")
    await writer.drain()
    print((await reader.readline()).decode().strip(), writer.get_extra_info("cipher") is not None)


async def main(port, ca, name):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await ping(reader, writer)
    writer.write(b"STARTTLS\n")
    await writer.drain()
    await writer.start_tls(ssl.create_default_context(cafile=ca), server_hostname=name)
    await ping(reader, writer)
    writer.write(b"QUIT\n")
    await writer.drain()
    writer.close()


asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
