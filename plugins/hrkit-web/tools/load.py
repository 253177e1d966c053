"""Measures many clients at once: `python tools/load.py http://127.0.0.1:8000 photo.jpg --clients 50 --seconds 60`.

Each client posts the photo over one connection, reads the whole answer and starts again. Prints requests per second,
their durations, errors, pictures per batch, and the server's memory before, halfway and after.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BOUNDARY = "load-load-load"


def request_bytes(host: str, path: str, photo: bytes, token: str | None = None) -> bytes:
    """A request with the photo in a form."""
    body = (
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        + photo
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "") + "\r\n"
    )
    return head.encode() + body


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    """Sends a request; returns the status and body of the answer."""
    writer.write(request)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length is not None, head
    return int(head.split()[1]), await reader.readexactly(int(length[1]))


async def client(host: str, port: int, request: bytes, until: float, seen: Counter[str], seconds: list[float]) -> None:
    """Sends a request over and over; counts statuses and errors in `seen`."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        while time.monotonic() < until:
            began = time.monotonic()
            status, body = await exchange(reader, writer, request)
            seen[str(status)] += 1
            if status == 200:
                seconds.append(time.monotonic() - began)
                json.loads(body)["people"]
    except (OSError, asyncio.IncompleteReadError, ValueError, KeyError) as error:
        seen[type(error).__name__] += 1
    finally:
        writer.close()


async def read_metrics(host: str, port: int, token: str | None) -> dict[str, float]:
    """The server's metrics without labels, by name."""
    reader, writer = await asyncio.open_connection(host, port)
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    _, body = await exchange(reader, writer, f"GET /metrics HTTP/1.1\r\nHost: {host}:{port}\r\n{bearer}\r\n".encode())
    writer.close()
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", body.decode(), re.MULTILINE)}


async def load(
    address: str, photo: bytes, *, clients: int, seconds: float, path: str = "/v1/poses", token: str | None = None
) -> dict[str, Any]:
    """Runs the clients and returns the measurements."""
    parts = urlsplit(address)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    request = request_bytes(f"{host}:{port}", path, photo, token)
    seen: Counter[str] = Counter()
    took: list[float] = []
    before = await read_metrics(host, port, token)
    began = time.monotonic()
    running = [asyncio.create_task(client(host, port, request, began + seconds, seen, took)) for _ in range(clients)]
    await asyncio.sleep(seconds / 2)
    halfway = await read_metrics(host, port, token)
    await asyncio.gather(*running)
    passed = time.monotonic() - began
    after = await read_metrics(host, port, token)
    grown = {name: after[name] - before[name] for name in after if name in before}
    batches = grown["hrkit_web_batch_size_count"]
    return {
        "clients": clients,
        "seconds": round(passed, 1),
        "statuses": dict(seen),
        "a_second": round(len(took) / passed, 2),
        "median_s": round(statistics.median(took), 3) if took else None,
        "worst_s": round(max(took), 3) if took else None,
        "pictures_in_a_batch": round(grown["hrkit_web_batch_size_sum"] / batches, 2) if batches else None,
        "resident_mb": [round(each["process_resident_memory_bytes"] / 1e6) for each in (before, halfway, after)],
    }


def main() -> None:
    """Prints one line of JSON per number of clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--path", default="/v1/poses")
    parser.add_argument("--token")
    given = parser.parse_args()
    for clients in given.clients:
        result = asyncio.run(
            load(
                given.address,
                given.photo.read_bytes(),
                clients=clients,
                seconds=given.seconds,
                path=given.path,
                token=given.token,
            )
        )
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
