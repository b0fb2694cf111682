"""Checks tests/support/delay_proxy.py on loopback: what it delays, limits, damages and cuts."""

import asyncio
import random
import subprocess
import sys
import unittest
from pathlib import Path

SUPPORT = Path(__file__).resolve().parents[1] / "support"
sys.path.insert(0, str(SUPPORT))

from delay_proxy import Proxy  # noqa: E402

DATA = random.Random(7).randbytes(300_000)
LIMIT = 30  # seconds that nothing here takes


class Echo:
    """A server that sends back what it gets, behind a proxy."""

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.proxy = Proxy(*self.server.sockets[0].getsockname())
        self.port = await self.proxy.start()
        return self

    async def __aexit__(self, *_):
        await self.proxy.stop()
        self.server.close()

    @staticmethod
    async def _serve(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            pass
        finally:
            writer.close()

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def round_trip(self, data):
        """What comes back, and the seconds it took."""
        reader, writer = await self.connect()
        began = asyncio.get_running_loop().time()
        writer.write(data)
        writer.write_eof()
        back = await reader.read(-1)
        writer.close()
        return back, asyncio.get_running_loop().time() - began


def on_loopback(test):
    def run(self):
        asyncio.run(asyncio.wait_for(test(self), LIMIT))

    return run


class TestDelayProxy(unittest.TestCase):
    @on_loopback
    async def test_a_good_link_changes_nothing(self):
        async with Echo() as echo:
            many = await asyncio.gather(*(echo.round_trip(DATA) for _ in range(5)))
            for back, _ in many:
                self.assertEqual(back, DATA)

    @on_loopback
    async def test_delay_is_each_way_and_jitter_keeps_the_order(self):
        async with Echo() as echo:
            await echo.proxy.link.set("delay", "0.15")
            await echo.proxy.link.set("jitter", "0.05")
            back, seconds = await echo.round_trip(DATA)
            self.assertEqual(back, DATA)
            self.assertGreaterEqual(seconds, 0.3)

    @on_loopback
    async def test_rate_is_shared_by_all_connections_of_a_direction(self):
        async with Echo() as echo:
            await echo.proxy.link.set("rate", "1000000")
            many = await asyncio.gather(echo.round_trip(DATA), echo.round_trip(DATA))
            self.assertGreaterEqual(max(seconds for _, seconds in many), 0.6)
            self.assertEqual([back for back, _ in many], [DATA, DATA])

    @on_loopback
    async def test_flips_one_bit_in_so_many_bytes_each_way(self):
        async with Echo() as echo:
            await echo.proxy.link.set("flip", "100000")
            back, _ = await echo.round_trip(DATA)
            self.assertEqual(len(back), len(DATA))
            wrong = [i for i, (a, b) in enumerate(zip(back, DATA)) if a != b]
            self.assertEqual(wrong, [99_999, 199_999, 299_999])
            self.assertEqual({(back[i] ^ DATA[i]).bit_count() for i in wrong}, {2})
            await echo.proxy.link.set("flip", "0")
            self.assertEqual((await echo.round_trip(DATA))[0], DATA)

    @on_loopback
    async def test_what_is_blocked_waits_and_arrives_later(self):
        async with Echo() as echo:
            for direction in ("up", "down", "both"):
                await echo.proxy.link.set("block", direction)
                reader, writer = await echo.connect()
                writer.write(b"hello")
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(reader.read(5), 0.2)
                await echo.proxy.link.set("block", "none")
                self.assertEqual(await reader.readexactly(5), b"hello")
                writer.close()

    @on_loopback
    async def test_cut_resets_connections_and_the_next_one_works(self):
        async with Echo() as echo:
            reader, writer = await echo.connect()
            writer.write(b"hello")
            await reader.readexactly(5)
            echo.proxy.cut()
            with self.assertRaises(ConnectionResetError):
                await reader.readexactly(1)
            self.assertEqual((await echo.round_trip(DATA))[0], DATA)

    @on_loopback
    async def test_truncated_up_ends_after_so_many_bytes(self):
        async with Echo() as echo:
            await echo.proxy.link.set("truncate", "1000")
            back, _ = await echo.round_trip(DATA)
            self.assertEqual(back, DATA[:1000])

    @on_loopback
    async def test_nobody_behind_it_is_an_end_at_once(self):
        async with Echo() as echo:
            echo.server.close()
            await echo.server.wait_closed()
            reader, _ = await echo.connect()
            try:
                self.assertEqual(await reader.read(1), b"")
            except ConnectionResetError:
                pass

    @on_loopback
    async def test_unknown_settings_are_refused(self):
        async with Echo() as echo:
            for name, value in (("speed", "1"), ("delay", "-1"), ("delay", "x"), ("block", "left")):
                with self.assertRaises(ValueError):
                    await echo.proxy.link.set(name, value)

    def test_the_program_is_driven_by_lines(self):
        tool = [sys.executable, SUPPORT / "delay_proxy.py", "--to", "127.0.0.1:9", "delay=0.01"]
        with subprocess.Popen(
            tool, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as proxy:
            self.assertRegex(proxy.stdout.readline(), r"^listening on \d+\n$")
            answers = []
            for line in ("rate=1e6", "cut", "block=up", "nonsense", "delay=-1"):
                proxy.stdin.write(line + "\n")
                proxy.stdin.flush()
                answers.append(proxy.stdout.readline().strip().partition(":")[0])
            self.assertEqual(answers, ["ok", "ok", "ok", "error", "error"])
            proxy.stdin.close()
            self.assertEqual(proxy.wait(timeout=LIMIT), 0)


if __name__ == "__main__":
    unittest.main()
