"""A WebSocket client that nobody here wrote: Python's `websockets`.

    peer.py CASE URL [PEM]

URL leads to cgi-bin/echo, where not said otherwise. Exit 0: the case went as it should.
"""
import asyncio
import os
import ssl
import sys

import websockets
from websockets.exceptions import ConnectionClosed

CASE, URL, PEM = (sys.argv[1:] + [None])[:3]
# The page's own origin, as a browser would say it.
ORIGIN = "/".join(URL.replace("ws", "http", 1).split("/")[:3])


def connect(query="", **options):
    options = {"origin": ORIGIN, "open_timeout": 60, "close_timeout": 60, **options}
    if PEM:
        options["ssl"] = ssl.create_default_context(cafile=PEM)
    return websockets.connect(URL + query, **options)


async def text():
    async with connect() as ws:
        for message in "hello", "", "ä€😀\0", "two\nlines":
            await ws.send(message)
            assert await ws.recv() == message


async def binary():
    async with connect() as ws:
        for message in b"hello", b"", bytes(range(256)) * 4:
            await ws.send(message)
            assert await ws.recv() == message


async def big():
    async with connect() as ws:
        for size in 125, 126, 65535, 65536:
            message = os.urandom(size)
            await ws.send(message)
            assert await ws.recv() == message
            await ws.send("x" * size)
            assert await ws.recv() == "x" * size


async def fragments():
    """A list is sent as one fragmented message. A pong may pass between its parts."""
    async with connect() as ws:
        await ws.send(["a" * 300, "", "b", "c" * 70])
        assert await ws.recv() == "a" * 300 + "b" + "c" * 70
        await ws.send([b"\0", b"\xff" * 200])
        assert await ws.recv() == b"\0" + b"\xff" * 200
        # A character in two frames.
        await ws.send([b"\xc3", b"\xa4"])
        assert await ws.recv() == b"\xc3\xa4"


async def ping():
    async with connect(ping_interval=None) as ws:
        for payload in b"", b"x" * 125:
            # It comes true when a pong with that payload does.
            pong = await ws.ping(payload or None)
            await asyncio.wait_for(pong, 60)
        await ws.send("after")
        assert await ws.recv() == "after"


async def close():
    """The daemon answers with our code, and ends the connection."""
    for code, reason in (1000, ""), (1001, "away"), (4999, "ä" * 61):
        ws = await connect()
        await ws.close(code, reason)
        assert (ws.close_code, ws.close_reason) == (code, reason), (ws.close_code, ws.close_reason)


async def server_close():
    """URL leads to tests/programs/act.c."""
    ws = await connect()
    await ws.send("head WS-To: @all\\nWS-Close: 4321 that is all;out last words")
    assert await ws.recv() == "last words"
    try:
        raise AssertionError(await ws.recv())
    except ConnectionClosed as closed:
        assert (closed.code, closed.reason) == (4321, "that is all"), closed


async def protocol():
    """The same."""
    query = "?open=head%20Sec-WebSocket-Protocol:%20two"
    async with connect(query, subprotocols=["one", "two"]) as ws:
        assert ws.subprotocol == "two"
        await ws.send("head X: y;out hello")
        assert await ws.recv() == "hello"


async def secure():
    """The same. What the program is told of TLS."""
    async with connect() as ws:
        await ws.send("env")
        lines = (await ws.recv()).splitlines()
        assert "HTTPS=on" in lines, lines
        assert "REQUEST_SCHEME=https" in lines, lines


async def foreign():
    """A page from elsewhere. How the library tells differs between its versions."""
    try:
        async with connect(origin="http://evil.example"):
            raise AssertionError("let in")
    except websockets.exceptions.InvalidHandshake as refusal:
        assert "403" in str(refusal), refusal


async def parallel():
    """64 connections at once, each with messages in flight."""
    async def one(n):
        async with connect() as ws:
            for i in range(10):
                await ws.send(f"{n}.{i}")
            for i in range(10):
                assert await ws.recv() == f"{n}.{i}"
    await asyncio.gather(*(one(n) for n in range(64)))


asyncio.run(asyncio.wait_for(globals()[CASE](), 120))
