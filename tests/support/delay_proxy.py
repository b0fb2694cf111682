#!/usr/bin/env python3
"""A TCP connection through a bad link: for tests of what labs and their hub say to each other.

  delay_proxy.py --to HOST:PORT [--listen PORT] [setting=value ...]

Prints "listening on PORT" and forwards every connection, both ways, until stdin ends. Lines on stdin change the link
for what is read from then on; each is answered by "ok" or "error: ...". Directions: up is towards --to.

  delay=0.025      seconds each way            jitter=0.01     more, up to so many seconds; order is kept
  rate=12500000    bytes a second each way; 0: no limit
  flip=1000000     one bit in so many bytes is turned over; 0: none
  block=up         what goes up waits: down, both, none        truncate=1000   up ends after so many more bytes; -1: never
  cut              resets every connection
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import struct
import sys
from dataclasses import dataclass, field

_CHUNK = 16 << 10
_MOST_WAITING = 4 << 20  # bytes of one direction of one connection


@dataclass
class Link:
    """The link's settings, which tests change while connections go on."""

    delay: float = 0.0
    jitter: float = 0.0
    rate: float = 0.0
    flip: int = 0
    truncate: int = -1
    blocked: set[str] = field(default_factory=set)
    late: random.Random = field(default_factory=lambda: random.Random(1))
    free_at: dict[str, float] = field(default_factory=dict)  # by direction: when the link is idle
    until_flip: dict[str, int] = field(default_factory=dict)
    bits: dict[str, random.Random] = field(default_factory=dict)  # the same wherever reads end
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def set(self, name: str, value: str) -> None:
        """Raises ValueError for what it does not know."""
        if name == "block":
            directions = {"up": {"up"}, "down": {"down"}, "both": {"up", "down"}, "none": set()}
            if value not in directions:
                raise ValueError(f"block={value}: want up, down, both or none")
            self.blocked = directions[value]
        elif name in ("delay", "jitter", "rate"):
            number = float(value)
            if not 0 <= number < 1e12:
                raise ValueError(f"{name}={value}: want 0 or more")
            setattr(self, name, number)
        elif name in ("flip", "truncate"):
            setattr(self, name, int(value))
            self.until_flip.clear()
        else:
            raise ValueError(f"no setting '{name}'")
        async with self.changed:
            self.changed.notify_all()

    def due(self, direction: str, size: int, now: float) -> float:
        """When what was read now arrives, if the link is not blocked."""
        start = max(now, self.free_at.get(direction, 0.0))
        took = size / self.rate if self.rate > 0 else 0.0
        self.free_at[direction] = start + took
        return start + took + self.delay + self.late.uniform(0, self.jitter)

    def damaged(self, direction: str, data: bytes) -> bytes:
        if self.flip <= 0:
            return data
        damaged = bytearray(data)
        bits = self.bits.setdefault(direction, random.Random(direction))
        at = self.until_flip.get(direction, self.flip) - 1
        while at < len(damaged):
            damaged[at] ^= 1 << bits.randrange(8)
            at += self.flip
        self.until_flip[direction] = at - len(damaged) + 1
        return bytes(damaged)


class Proxy:
    """Forwards connections to one address over a link."""

    def __init__(self, host: str, port: int) -> None:
        self.link = Link()
        self._to = (host, port)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> int:
        """Listens on loopback; returns the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """Resets every connection: what was on its way is lost."""
        for writer in list(self._open):
            peer = writer.get_extra_info("socket")
            if peer is not None:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, there_writer}
        try:
            await asyncio.gather(
                self._pump("up", reader, there_writer), self._pump("down", there_reader, writer)
            )
        finally:
            for one in (writer, there_writer):
                self._open.discard(one)
                one.close()

    async def _pump(
        self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_WAITING // _CHUNK)
        sender = asyncio.create_task(self._deliver(direction, waiting, writer))
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(_CHUNK):
                if direction == "up" and self.link.truncate >= 0:
                    data = data[: self.link.truncate]
                    self.link.truncate -= len(data)
                data = self.link.damaged(direction, data)
                await waiting.put((self.link.due(direction, len(data), loop.time()), data))
                if direction == "up" and self.link.truncate == 0:
                    break
        except OSError:
            pass  # reset: what was read still arrives
        await waiting.put((loop.time(), b""))
        await sender

    async def _deliver(
        self,
        direction: str,
        waiting: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
    ) -> None:
        loop = asyncio.get_running_loop()
        last = 0.0  # jitter never overtakes
        while True:
            due, data = await waiting.get()
            last = max(last, due)
            await asyncio.sleep(max(0.0, last - loop.time()))
            async with self.link.changed:
                await self.link.changed.wait_for(lambda: direction not in self.link.blocked)
            try:
                if not data:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
            except (OSError, RuntimeError):
                return  # the other side is gone


async def _command(proxy: Proxy, line: str) -> str:
    if line == "cut":
        proxy.cut()
        return "ok"
    name, equals, value = line.partition("=")
    if not equals:
        return f"error: '{line}': want cut or setting=value"
    try:
        await proxy.link.set(name, value)
    except ValueError as failure:
        return f"error: {failure}"
    return "ok"


async def _run(options: argparse.Namespace) -> None:
    host, _, port = options.to.rpartition(":")
    proxy = Proxy(host, int(port))
    for setting in options.settings:
        answer = await _command(proxy, setting)
        if answer != "ok":
            raise SystemExit(answer)
    print("listening on", await proxy.start(options.listen), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(await _command(proxy, line.strip()), flush=True)
    await proxy.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--listen", type=int, default=0, metavar="PORT")
    parser.add_argument("settings", nargs="*", metavar="setting=value")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
