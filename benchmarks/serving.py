"""How fast and how robust is `kedro serve`? Against onnxruntime alone, side by side in one run.

    python benchmarks/serving.py [--rounds 5] [--seconds 10] [--hostile 10000] [--swaps 100] [--network NAME]

Throughput: pictures a second of 16 clients that post a JPEG of 512 x 512 pixels each, over pictures a second of
onnxruntime on crops that are ready, in batches of 64 crops and of as many as the service makes. All are measured by
turns, in rounds, so that other programs slow all. Clients and service share the cores; so the same ratios follow for
processor time, of service and clients together, which other programs disturb less. Like for like: onnxruntime and the
decoding of the same files. Then hostile requests, with the memory of the service before and after, and exchanges of the
detector under load.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from fakemedia.registry.client import Registry, open_registry
from fakemedia.registry.promotion import promote
from fakemedia.registry.versions import find_version, open_version, register
from fakemedia.scoring.crop_layout import CROPS, view
from fakemedia.scoring.onnx_model import OnnxModel
from fakemedia.serving.pictures_in import receive
from fakemedia.serving.serving_config import ServingConfig

CLIENTS, SIDE, CROP, LARGE = 16, 512, 128, 64
BOUNDARY = "benchmark"


def photograph(seed: int, side: int = SIDE) -> np.ndarray:
    """Return smooth noise, uint8 (side, side, 3), which compresses like a photograph."""
    small = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray, kind: str = "JPEG", **options: int) -> bytes:
    """Return an image file of `pixels`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def make_registry(folder: Path, network: str) -> Registry:
    """Return a registry of two untrained detectors of `network`, the first of which is the champion."""
    from fakemedia.artefacts.manifest import Recipe
    from fakemedia.core import plugin
    from fakemedia.core.plan import Plugin
    from fakemedia.core.types import make_stages
    from fakemedia.networks.checkpoint import make_checkpoint, save
    from fakemedia.scoring.detector_folder import write_detector
    from fakemedia.scoring.model_card import CardInfo

    registry = open_registry("", folder / "registry")
    for seed in (0, 1):
        named = Plugin(name=network, settings={"pretrained": "none"})
        weights = plugin.create("networks", network, named.settings, seed).state_dict()
        meta = {"fingerprint": str(seed) * 32, "network": asdict(named), "seed": seed, "training": {"crop": CROP},
                "stage": asdict(make_stages([("a",)])[0]), "policy": "native"}
        save(make_checkpoint(weights, {}, meta), folder / f"c{seed}", Recipe(producer="stage", version=1))
        write_detector(folder / f"c{seed}", folder / f"d{seed}", CardInfo(name=f"c{seed}"), state=True, onnx=True)
        version = register(registry, folder / f"d{seed}", origin=f"c{seed}")
        if seed == 0:
            promote(registry, version, by="benchmark")
    return registry


def serve(folder: Path) -> None:
    """Run the service of the registry in `folder` until SIGTERM."""
    from fakemedia.runtime import signals
    from fakemedia.serving.server import bound, make_service, run

    with signals.watched():
        config = ServingConfig(poll_seconds=0.05)
        service = make_service(open_registry("", folder), alias="champion", config=config, log=folder / "log.db",
                               token="")
        listening = bound("127.0.0.1", 0)
        print(listening.getsockname()[1], flush=True)
        run(service, listening, print)


def form(data: bytes) -> bytes:
    """Return a multipart body with one picture."""
    head = (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="pictures"; filename="a"\r\n'
            f"Content-Type: application/octet-stream\r\n\r\n")
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


class Client:
    """One client that keeps its connection."""

    def __init__(self, port: int) -> None:
        self.port, self.connection = port, http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def post(self, body: bytes) -> tuple[int, dict]:
        """Return status and answer."""
        self.connection.request("POST", "/v1/score", body,
                                {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())


def under_load(port: int, bodies: list[bytes], until: Callable[[], bool]) -> tuple[list[float], Counter, set[int]]:
    """Post `bodies` by CLIENTS clients until `until`; return seconds of each request, statuses, versions seen."""
    seconds: list[float] = []
    statuses: Counter = Counter()
    versions: set[int] = set()

    def work(number: int) -> None:
        client = Client(port)
        while not until():
            start = time.perf_counter()
            try:
                status, answer = client.post(bodies[number % len(bodies)])
                versions.add(answer["detector"]["version"] if status == 200 else 0)
            except (OSError, http.client.HTTPException) as error:
                status, client = type(error).__name__, Client(port)
            seconds.append(time.perf_counter() - start)
            statuses[status] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, statuses, versions


def own_rate(model: OnnxModel, crops: np.ndarray, size: int, seconds: float) -> tuple[float, float]:
    """Return pictures a second of onnxruntime alone, and its processor seconds of a picture, in batches of `size`."""
    batch = np.concatenate([crops] * (size // len(crops)))
    model.outputs(batch)
    start, spent, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        model.outputs(batch)
        done += size // len(crops)
    return done / (time.perf_counter() - start), (time.process_time() - spent) / done


def decode_cost(model: OnnxModel, files: list[bytes]) -> float:
    """Return the processor seconds from the bytes of a file to its crops."""
    start = time.process_time()
    for data in files:
        receive("a", data, model.facts, crops=CROPS, max_pixels=ServingConfig().max_pixels)
    return (time.process_time() - start) / len(files)


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hostile(rng: random.Random) -> bytes:
    """Return bytes that are nearly a picture: cut, with changed bytes, of an absurd size, or no picture at all."""
    kind = rng.choice(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"])
    data = bytearray(encoded(photograph(rng.randrange(99), 8 * rng.randrange(1, 12)), kind))
    match rng.randrange(5):
        case 0:
            del data[rng.randrange(len(data)):]
        case 1:
            for _ in range(rng.randrange(1, 40)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 2:
            data[8:24] = rng.randbytes(16)
        case 3:
            data = bytearray(rng.randbytes(rng.randrange(1, 2000)))
    body = form(bytes(data))
    return body[:rng.randrange(len(body))] if rng.randrange(10) == 0 else body


def memory(process: int) -> int:
    """Return the resident memory of a process, MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


def attack(port: int, process: int, count: int) -> str:
    """Send `count` hostile requests by CLIENTS clients; return what came back, and the memory."""
    statuses: Counter = Counter()
    sizes = []

    def work(number: int, each: int) -> None:
        rng, client = random.Random(number), Client(port)
        for _ in range(each):
            try:
                statuses[client.post(hostile(rng))[0]] += 1
            except (OSError, http.client.HTTPException, ValueError) as error:
                statuses[type(error).__name__] += 1
                client = Client(port)

    for part in range(5):
        each = count // (5 * CLIENTS)
        threads = [threading.Thread(target=work, args=(part * CLIENTS + n, each)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sizes.append(memory(process))
    return f"{sum(statuses.values())} requests: {dict(statuses)}; memory after each fifth {sizes} MiB"


def swap(registry: Registry, port: int, bodies: list[bytes], count: int) -> str:
    """Exchange the champion `count` times under load; return how many requests failed."""
    done = threading.Event()
    seen = 0

    def exchange() -> None:
        nonlocal seen
        watcher = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(count):
            wanted = 2 - number % 2
            registry.set_alias("champion", wanted)
            until = time.monotonic() + 30
            while time.monotonic() < until:
                watcher.request("GET", "/readyz")
                if json.loads(watcher.getresponse().read())["version"] == wanted:
                    seen += 1
                    break
                time.sleep(0.02)
        done.set()

    threading.Thread(target=exchange).start()
    _, statuses, versions = under_load(port, bodies, done.is_set)
    return f"{seen} of {count} exchanges; requests {dict(statuses)}; versions that answered {sorted(versions)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--hostile", type=int, default=10000)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    with tempfile.TemporaryDirectory() as name:
        registry = make_registry(Path(name), given.network)
        pictures = [encoded(photograph(seed), quality=90) for seed in range(CLIENTS)]
        bodies = [form(data) for data in pictures]
        crops = view(photograph(0), CROP).crops
        print(f"{given.network}, {len(crops)} crops of {CROP} pixels a picture (at most {CROPS}), {CLIENTS} clients",
              flush=True)
        model = OnnxModel(open_version(registry, find_version(registry, 1)) / "model.onnx")
        process = subprocess.Popen([sys.executable, __file__, "--serve", str(registry.folder)], stdout=subprocess.PIPE,
                                   text=True)
        assert process.stdout is not None
        port = int(process.stdout.readline())
        ratios: dict[str, list[float]] = {}
        latencies = []
        for number in range(given.rounds):
            found = [own_rate(model, crops, size, given.seconds / 2) for size in (LARGE, ServingConfig().batch)]
            decoding = decode_cost(model, pictures)
            before = processor_seconds(process.pid)
            end, start, own = time.monotonic() + given.seconds, time.perf_counter(), time.process_time()
            seconds, statuses, _ = under_load(port, bodies, lambda end=end: time.monotonic() > end)
            count, clients = len(seconds), time.process_time() - own
            rate = count / (time.perf_counter() - start)
            spent = (processor_seconds(process.pid) - before + clients) / count
            latencies += seconds
            for size, (alone, cost) in zip((LARGE, ServingConfig().batch), found, strict=True):
                for name, value in ((f"throughput, over batches of {size}", rate / alone),
                                    (f"processor time, over batches of {size}", cost / spent),
                                    (f"the same with decoding, over batches of {size}", (cost + decoding) / spent)):
                    ratios.setdefault(name, []).append(value)
            print(f"round {number + 1}: onnxruntime " + ", ".join(f"{alone:.1f}" for alone, _ in found)
                  + f", service {rate:.1f} pictures a second, {dict(statuses)}; processor ms of a picture: onnxruntime "
                  + ", ".join(f"{1000 * cost:.1f}" for _, cost in found)
                  + f", decoding {1000 * decoding:.1f}, clients {1000 * clients / count:.1f}, all {1000 * spent:.1f}",
                  flush=True)
        for name, values in ratios.items():
            print(f"{name}: median {np.median(values):.2f}, from {min(values):.2f} to {max(values):.2f}")
        print(f"p50 {np.median(latencies):.3f} s, p99 {np.quantile(latencies, 0.99):.3f} s", flush=True)
        print("hostile:", attack(port, process.pid, given.hostile), flush=True)
        print("exchanges:", swap(registry, port, bodies, given.swaps), flush=True)
        process.send_signal(signal.SIGTERM)
        print("ended with status", process.wait(30))


if __name__ == "__main__":
    main()
