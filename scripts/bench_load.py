"""Measures the server under many clients: the rate of stored pictures, throughput with repeated requests, fairness.

The exact command (about five minutes):

    python scripts/bench_load.py

One run on this machine, server and clients in processes of their own:

1. `rates`: answers for a stored picture of 1024x1024, about 1.5 MB, on 8 keep-alive connections, `/generate`,
   `/v1/images/generations` (the file as Base64) and the PNG itself, each in turn with a bare FastAPI route that sends
   the same bytes.
2. `repeats`: 200 clients, each with two requests in turn, of which four of five ask for a picture that was asked for
   before, a GPU simulated by 1 s a picture. The most a server can do is five answers a second.
3. `mix`: such requests of 20 clients with and without the cache: throughput.
4. `fair`: 10 users, each with 4 requests under way at any time, none of them stored: the waiting time of each user.

Compare columns of one run only: absolute times depend on the machine and its load.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from bench_http import serve_product, server

SIDE, SMALL = 1024, 64
CONNECTIONS, TURN_SECONDS, TURNS = 8, 2.0, 6
CLIENTS, DISTINCT, ASKS = 200, 80, 5  # of ASKS requests one is for a new picture
USERS, EACH, FAIR_SECONDS = 10, 4, 40.0

Ask = Callable[["Connection"], Awaitable[object]]


def main() -> None:
    """Run all parts, or with --serve run as one of the servers."""
    parts = {"rates": rates, "repeats": repeats, "mix": mix, "fair": fair}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(parts), help=", ".join(parts))
    parser.add_argument("--serve", choices=["product", "bare"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--seconds", type=float, default=1.0, help="what the simulated GPU takes for a picture")
    parser.add_argument("--no-cache", action="store_true")
    options = parser.parse_args()
    if options.serve == "product":
        serve_product(options.port, options.workspace, options.seconds, queue_size=0, no_cache=options.no_cache)
    elif options.serve == "bare":
        serve_bare(options.port, options.workspace)
    else:
        for part in options.parts:
            asyncio.run(parts[part]())


class Connection:
    """A keep-alive connection to a server on this machine, from an address of its own if one is given."""

    def __init__(self, url: str, source: str = "127.0.0.1") -> None:
        self._port, self._source = urlsplit(url).port, source
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, content: bytes = b"") -> bytes:
        """Send a request and return the body of its answer; any answer but 200 is an error."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self._port, local_addr=(self._source, 0), limit=2**22
            )
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().splitlines()
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
        answer = await reader.readexactly(length)
        if " 200 " not in lines[0]:
            raise RuntimeError(f"{method} {path}: {lines[0]} {answer[:200]!r}")
        return answer

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


def body(seed: int, side: int, **fields: object) -> bytes:
    """Return the body of one request."""
    return json.dumps(
        {"prompt": "a lighthouse at dusk", "seed": seed, "width": side, "height": side, **fields}
    ).encode()


@contextmanager
def product(seconds: float, *options: str) -> Iterator[str]:
    """Serve the product with a simulated GPU; yields its address."""
    with tempfile.TemporaryDirectory() as workspace:
        arguments = ("--workspace", workspace, "--seconds", str(seconds), *options)
        with server("product", *arguments, script=__file__) as ask:
            yield ask.url


# ---------------------------------------------------------------- 1


async def rates() -> None:
    """Compare the rates of stored pictures with those of routes that send the same bytes."""
    with product(0.01) as ours, tempfile.TemporaryDirectory() as folder:
        asks = await _stored(ours, Path(folder))
        with server("bare", "--workspace", folder, script=__file__) as bare:
            print(f"stored pictures of {SIDE}x{SIDE}, {CONNECTIONS} connections, {TURNS} turns of {TURN_SECONDS:g} s")
            for name, ask in asks.items():
                times: dict[str, list[float]] = {bare.url: [], ours: []}
                for url in [*times] * TURNS:
                    times[url] += await _for_a_while(url, ask)
                _print_rates(f"{name}, bare route", times[bare.url], times[bare.url])
                _print_rates(name, times[ours], times[bare.url])


async def _stored(url: str, folder: Path) -> dict[str, Ask]:
    """Draw one picture, write the answers for the bare routes into a folder, and return the requests."""
    connection = Connection(url)
    asked = {
        "POST /generate": ("POST", "/generate", body(1, SIDE)),
        "POST /v1/images/generations": ("POST", "/v1/images/generations", body(1, SIDE)),
    }
    image = json.loads(await connection.ask(*asked["POST /generate"]))["images"][0]
    asked["GET of the PNG"] = ("GET", image["image_url"].partition("?")[0], b"")
    for i, given in enumerate(asked.values()):
        (folder / f"{i} {given[1].replace('/', ' ')}").write_bytes(await connection.ask(*given))
    connection.close()
    return {name: partial(_ask, given) for name, given in asked.items()}


async def _ask(given: tuple[str, str, bytes], connection: Connection) -> None:
    await connection.ask(*given)


async def _for_a_while(url: str, ask: Ask) -> list[float]:
    """Repeat a request on all connections; returns the seconds of each answer."""
    times: list[float] = []
    end = time.perf_counter() + TURN_SECONDS

    async def repeat(connection: Connection) -> None:
        while (started := time.perf_counter()) < end:
            await ask(connection)
            times.append(time.perf_counter() - started)

    connections = [Connection(url) for _ in range(CONNECTIONS)]
    await asyncio.gather(*map(repeat, connections))
    for connection in connections:
        connection.close()
    return times


def _print_rates(name: str, times: list[float], against: list[float]) -> None:
    high = statistics.quantiles(times, n=100)
    rate, share = len(times) / (TURNS * TURN_SECONDS), len(times) / len(against)
    p50, p95, p99 = (1000 * high[i] for i in (49, 94, 98))
    print(f"  {name:<40} {rate:7.0f}/s {share:5.2f}   p50 {p50:6.2f}  p95 {p95:6.2f}  p99 {p99:6.2f} ms")


def serve_bare(port: int, folder: Path) -> None:
    """Serve routes that read the body and return prepared bytes."""
    import uvicorn  # noqa: PLC0415 - not in the measuring process
    from fastapi import FastAPI, Request  # noqa: PLC0415
    from starlette.responses import Response  # noqa: PLC0415

    app = FastAPI()
    for file in folder.iterdir():
        path, content = file.name.partition(" ")[2].replace(" ", "/"), file.read_bytes()
        kind = "image/png" if path.endswith(".png") else "application/json"

        async def answer(request: Request, content: bytes = content, kind: str = kind) -> Response:
            await request.body()
            return Response(content, media_type=kind)

        app.add_api_route(path, answer, methods=["GET", "POST"], response_model=None)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


# ---------------------------------------------------------------- 2 and 3


async def repeats() -> None:
    """Measure the throughput of many clients that repeat most requests."""
    with product(1.0) as url:
        took, asked = await _clients(url, CLIENTS)
    most = ASKS * 1.0
    print(
        f"{CLIENTS} clients, {asked} requests, {1 - 1 / ASKS:.0%} of them repeated, 1 s of GPU a picture: {took:.1f} s"
    )
    print(f"  {asked / took:.2f} answers a second, {asked / took / most:.1%} of the {most:g} that the GPU allows")


async def mix() -> None:
    """Compare the throughput with and without the cache."""
    with product(0.25, "--no-cache") as without, product(0.25) as with_cache:
        bare, asked = await _clients(without, 20)
        cached, _ = await _clients(with_cache, 20)
    print(f"20 clients, {asked} requests, {1 - 1 / ASKS:.0%} of them repeated, 0.25 s of GPU a picture")
    print(f"  without the cache {asked / bare:6.2f} answers a second")
    print(f"  with the cache    {asked / cached:6.2f} answers a second, {bare / cached:.2f} times as many")


async def _clients(url: str, count: int) -> tuple[float, int]:
    """Have clients ask until all requests are answered; returns the seconds and the number of requests."""
    rng, seeds = random.Random(1), list[int]()  # noqa: S311 - the same requests in each run
    for i in range(DISTINCT * ASKS):
        seeds.append(i // ASKS if i % ASKS == 0 else rng.choice(seeds))
    waiting = iter(seeds)
    started = time.perf_counter()

    async def ask(connection: Connection) -> None:
        for seed in waiting:
            await connection.ask("POST", "/generate", body(seed, SMALL))

    await _together(map(ask, (connections := [Connection(url) for _ in range(count)])), connections)
    return time.perf_counter() - started, len(seeds)


async def _together(tasks: Iterable[Awaitable[None]], connections: list[Connection]) -> None:
    await asyncio.gather(*tasks)
    for connection in connections:
        connection.close()


# ---------------------------------------------------------------- 4


async def fair() -> None:
    """Measure how long users wait who ask for equally much."""
    seeds, waits = itertools.count(), {f"127.0.0.{10 + i}": list[float]() for i in range(USERS)}
    with product(0.1) as url:
        end = time.perf_counter() + FAIR_SECONDS

        async def ask(user: str) -> None:
            connection = Connection(url, user)
            while (started := time.perf_counter()) < end:
                await connection.ask("POST", "/generate", body(next(seeds), SMALL))
                waits[user].append(time.perf_counter() - started)
            connection.close()

        await asyncio.gather(*(ask(user) for user in waits for _ in range(EACH)))
    means = sorted(map(statistics.mean, waits.values()))
    longest = max(map(max, waits.values()))
    print(f"{USERS} users, {EACH} requests each at any time, 0.1 s of GPU a picture, {FAIR_SECONDS:g} s")
    print(
        f"  mean wait {means[0]:.2f} to {means[-1]:.2f} s ({means[-1] / means[0]:.2f} times), longest {longest:.2f} s"
    )


if __name__ == "__main__":
    main()
