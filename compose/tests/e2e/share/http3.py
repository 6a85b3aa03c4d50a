"""Fetches a link over HTTP/3 with aioquic, a client that we did not write.

    python3 http3.py HOST PORT CA.pem PATH SHA256 SIZE

PATH is that of the link to a file of SIZE bytes. Needs aioquic (PyPI). Exits with 0 when page, whole, part, conditions and
refusals are as they should be.
"""

import asyncio
import hashlib
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

LIMIT = 60


class Browser(QuicConnectionProtocol):
    """One HTTP/3 connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.asked = {}

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            for _, _, done in self.asked.values():
                if not done.done():
                    done.set_exception(ConnectionError(event.reason_phrase or hex(event.error_code)))
        if isinstance(event, StreamReset) and event.stream_id in self.asked:
            self.asked[event.stream_id][2].set_exception(ConnectionError("the stream was reset"))
        for http_event in self.http.handle_event(event):
            if isinstance(http_event, (HeadersReceived, DataReceived)):
                headers, body, done = self.asked[http_event.stream_id]
                if isinstance(http_event, HeadersReceived):
                    headers.update(http_event.headers)
                else:
                    body.extend(http_event.data)
                if http_event.stream_ended and not done.done():
                    done.set_result((int(headers[b":status"]), headers, bytes(body)))

    async def ask(self, path, **more):
        """Asks by GET: of the answer to a HEAD, aioquic wants as many bytes as its content-length says."""
        stream = self._quic.get_next_available_stream_id()
        done = asyncio.get_running_loop().create_future()
        self.asked[stream] = ({}, bytearray(), done)
        headers = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path.encode())]
        headers += [(name.replace("_", "-").encode(), value) for name, value in more.items()]
        self.http.send_headers(stream, headers, end_stream=True)
        self.transmit()
        return await asyncio.wait_for(done, LIMIT)


async def check(host, port, ca, path, digest, size):
    config = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
    config.load_verify_locations(cafile=ca)
    async with connect(host, port, configuration=config, create_protocol=Browser) as client:
        status, headers, body = await client.ask(path)
        assert status == 200 and headers[b"content-type"].startswith(b"text/html"), (status, headers)
        assert b"default-src 'none'" in headers[b"content-security-policy"], headers
        assert digest.encode() in body, "the page tells the checksum"

        status, headers, whole = await client.ask(path + "/get")
        assert status == 200 and len(whole) == size, (status, len(whole))
        assert hashlib.sha256(whole).hexdigest() == digest
        tag = headers[b"etag"]

        status, headers, body = await client.ask(path + "/get", range=b"bytes=1000-1999", if_range=tag)
        assert status == 206 and body == whole[1000:2000], (status, headers)
        status, _, body = await client.ask(path + "/get", if_none_match=tag)
        assert status == 304 and not body, status
        # Several at once on one connection.
        parts = [client.ask(path + "/get", range=f"bytes={at}-{at + 9}".encode()) for at in range(0, 500, 10)]
        for number, (status, _, body) in enumerate(await asyncio.gather(*parts)):
            assert status == 206 and body == whole[number * 10 : number * 10 + 10], number

        status, _, body = await client.ask("/s/" + "A" * 43)
        assert status == 404, status
    print("aioquic: page, whole, part, conditions and refusal are right")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(
        asyncio.wait_for(check(arguments[0], int(arguments[1]), *arguments[2:5], int(arguments[5])), LIMIT)
    )
