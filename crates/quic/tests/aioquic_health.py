"""Calls grpc.health.v1 over HTTP/3 with aioquic, a client that we did not write.

    python3 aioquic_health.py PATH_OF_THE_EXAMPLE_health

Needs aioquic (PyPI). Exits with 0 when message, status and trailers are read as they should be, a call that fails
carries its status, and a client without a certificate is turned away.
"""

import asyncio
import base64
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated

LIMIT = 30


class Client(QuicConnectionProtocol):
    """One HTTP/3 connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.calls = {}

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            for _, _, done in self.calls.values():
                if not done.done():
                    done.set_exception(ConnectionError(event.reason_phrase or hex(event.error_code)))
        for http_event in self.http.handle_event(event):
            if isinstance(http_event, (HeadersReceived, DataReceived)):
                headers, data, done = self.calls[http_event.stream_id]
                if isinstance(http_event, HeadersReceived):
                    headers.append(dict(http_event.headers))
                else:
                    data.extend(http_event.data)
                if http_event.stream_ended and not done.done():
                    done.set_result((headers, bytes(data)))

    async def call(self, path, message):
        """Makes a unary call; gives all header sections and the data."""
        stream = self._quic.get_next_available_stream_id()
        done = asyncio.get_running_loop().create_future()
        self.calls[stream] = ([], bytearray(), done)
        self.http.send_headers(
            stream,
            [
                (b":method", b"POST"),
                (b":scheme", b"https"),
                (b":authority", b"localhost"),
                (b":path", path),
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
            ],
        )
        prefix = bytes([0]) + len(message).to_bytes(4, "big")
        self.http.send_data(stream, prefix + message, end_stream=True)
        self.transmit()
        return await asyncio.wait_for(done, LIMIT)


def configuration(directory, with_certificate):
    config = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
    ca = ssl.DER_cert_to_PEM_cert((directory / "ca.der").read_bytes())
    config.load_verify_locations(cadata=ca.encode())
    if with_certificate:
        certificate, key = directory / "client.pem", directory / "key.pem"
        certificate.write_text(ssl.DER_cert_to_PEM_cert((directory / "client.der").read_bytes()))
        encoded = base64.encodebytes((directory / "client.key").read_bytes()).decode()
        key.write_text(f"-----BEGIN PRIVATE KEY-----\n{encoded}-----END PRIVATE KEY-----\n")
        config.load_cert_chain(str(certificate), str(key))
    return config


async def check(port, directory):
    path = b"/grpc.health.v1.Health/Check"
    async with connect("127.0.0.1", port, configuration=configuration(directory, True), create_protocol=Client) as client:
        headers, data = await client.call(path, b"\x0a\x05quics")
        assert headers[0][b":status"] == b"200", headers
        assert headers[0][b"content-type"].startswith(b"application/grpc"), headers
        assert data == b"\x00\x00\x00\x00\x02\x08\x01", data
        assert len(headers) == 2 and headers[1][b"grpc-status"] == b"0", headers

        headers, data = await client.call(path, b"\x0a\x05other")
        assert headers[-1][b"grpc-status"] == b"5" and not data, (headers, data)

        headers, _ = await client.call(b"/grpc.health.v1.Health/Nothing", b"")
        assert headers[-1][b"grpc-status"] == b"12", headers

    try:
        config = configuration(directory, False)
        async with connect("127.0.0.1", port, configuration=config, create_protocol=Client) as client:
            await client.call(path, b"")
    except ConnectionError as error:
        print(f"without a certificate: {error}")
    else:
        raise AssertionError("a client without a certificate was served")


def main():
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = subprocess.Popen([sys.argv[1], name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            port = int(server.stdout.readline())
            asyncio.run(asyncio.wait_for(check(port, directory), LIMIT))
        finally:
            server.stdin.close()
            assert server.wait(LIMIT) == 0
    print("aioquic and grpc.health.v1: message, status and trailers are right")


if __name__ == "__main__":
    main()
