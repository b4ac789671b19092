"""What both sides of the PING/PONG demo have in common: the two ways to start TLS on a stream.

"inplace" is StreamWriter.start_tls of Python 3.11: the reader and the writer stay the same.
"anew" is how it was spelled before, with loop.start_tls: there is a new reader and a new writer.
"""

import asyncio


async def start_tls(spelling, reader, writer, context, server_side, name=None):
    """Upgrade, and return the reader and the writer to go on with."""
    if spelling == "inplace":
        if server_side:
            await writer.start_tls(context)
        else:
            await writer.start_tls(context, server_hostname=name)
        return reader, writer
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = await loop.start_tls(
        writer.transport, protocol, context, server_side=server_side, server_hostname=name
    )
    protocol.connection_made(transport)
    upgraded = asyncio.StreamWriter(transport, protocol, reader, loop)
    upgraded.before = writer  # a writer that nobody has any more closes its connection
    return reader, upgraded


def is_secure(writer):
    return "in TLS" if writer.get_extra_info("ssl_object") else "in plaintext"
