"""What a store in a bucket costs: requests and seconds, with and without a far network.

``python benchmarks/bucket.py`` starts moto's S3 server, commits artifacts of two small files to a
store in it, and asks for them as a plan, a stage that reads them all, and ``verify`` do. Requests
are counted by the server. ``--latency-ms 20`` lets every answer come so much later, as it would
from another place; what the server itself takes is moto's, not
S3's: the CPU seconds of this process are what a faster server leaves.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.store import Store, describe_files, open_store
from storage_schemas.manifest import Manifest

PORT = 45231
# Passes bytes on; those of the server come later. In a process of its own, it costs us nothing.
PROXY = """
import asyncio, sys
target, port, late = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
async def pump(reader, writer, delay):
    while data := await reader.read(1 << 20):
        if delay and len(data) < 1 << 16:
            await asyncio.sleep(delay)
        writer.write(data)
        await writer.drain()
    writer.close()
async def serve(reader, writer):
    theirs, ours = await asyncio.open_connection("127.0.0.1", target)
    await asyncio.gather(pump(reader, ours, 0), pump(theirs, writer, late), return_exceptions=True)
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()
asyncio.run(main())
"""


def commit(store: Store, key: str, size: int) -> None:
    """An artifact of two files, one of `size` random bytes."""
    with store.lock(key):
        data = store.staging(key) / "data"
        data.mkdir()
        (data / "boxes.arrow").write_bytes(os.urandom(size))
        (data / "videos.arrow").write_bytes(b"videos")
        manifest = Manifest(
            key=key,
            stage="bench",
            stage_version=1,
            step="bench",
            noun="boxes",
            noun_version=1,
            parameters={},
            inputs={},
            part="0000",
            items=[f"video-{number}.mp4" for number in range(64)],
            files=describe_files(data, {}),
        )
        store.commit(key, data, manifest)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=int, default=1000)
    parser.add_argument("--bytes", type=int, default=100_000)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=4, help="that commit at the same time")
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="tubelet-bucket-"))
    log = root / "requests.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-p", str(PORT)], stdout=file, stderr=file
        )
    proxy = subprocess.Popen(
        [sys.executable, "-c", PROXY, str(PORT), str(PORT + 1), str(asked.latency_ms / 1000)]
    )
    port = PORT + 1 if asked.latency_ms else PORT
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "tubelet",
        "AWS_SECRET_ACCESS_KEY": "tubelet",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    keys = [f"bench-{number:024x}" for number in range(asked.artifacts)]
    title = f"{asked.artifacts} artifacts, answers {asked.latency_ms:g} ms late"
    table = Table("what", "requests", "seconds", "of our CPU", title=title)

    def opened(machine: str) -> Store:
        os.environ["TUBELET_SCRATCH"] = str(root / machine)
        return open_store("s3://bench/store")

    def measure(what: str, call: Callable[[], object]) -> None:
        before, busy, started = requests(), time.process_time(), time.perf_counter()
        call()
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        table.add_row(what, str(requests() - before), f"{seconds:.2f}", f"{busy:.2f}")

    def requests() -> int:
        time.sleep(0.2)
        return log.read_text().count(" HTTP/1.1")

    try:
        time.sleep(3)
        import boto3

        boto3.resource("s3").Bucket("bench").create()
        store = opened("first")
        measure("open the store", lambda: opened("first"))
        with ThreadPoolExecutor(asked.workers) as pool:
            measure(
                f"commit them, {asked.workers} at a time",
                lambda: list(pool.map(lambda key: commit(store, key, asked.bytes), keys)),
            )
        first, again = opened("second"), opened("second")
        measure("plan, the first time on a machine", lambda: first.damages(keys))
        measure("plan again", lambda: again.damages(keys))
        measure("is one key there", lambda: opened("second").damage(keys[0]))
        measure("read all of them", lambda: first.folders(keys))
        measure("read all of them again", lambda: opened("second").folders(keys))
        measure("list their keys", lambda: list(again.keys()))
        Console().print(table)
    finally:
        proxy.kill()
        server.kill()
        subprocess.run(["rm", "-rf", str(root)], check=True)


if __name__ == "__main__":
    main()
