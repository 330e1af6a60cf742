"""Corrupting photographs of 224 pixels and CIFAR images of 32, against imagecorruptions, image by image as it works.

python benchmarks/corruptions.py [224|32 [THREADS]]     CPU, about 2 minutes each; RENORM_DATA names the folder of data
pip install imagecorruptions 'setuptools<82'            the other side; without it only renorm's times are printed

imagecorruptions 1.1.2 has the severities of 224 pixels only, so both sides use them; "own" are renorm's times with the
table of 32. Three of its functions fail with today's numpy and scikit-image; `mended` gives them the names they ask for.
It gets arrays in the layout of its own, renorm a batch of planes. A time is the mean over severities 1, 3 and 5, with an
allocator that keeps freed memory; with glibc's defaults both sides can take twice as long, depending on what was freed
before. Memory is what the process grows by for 16 images of 224 pixels or 512 of 32.
"""

import multiprocessing
import os
import resource
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from paired import machine, ratios

import renorm
from renorm.corruptions import HELD_OUT, STANDARD, corrupt

DATA = Path(os.environ.get("RENORM_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
FILES = {224: "photos/photos.parquet", 32: "cifar10/test.parquet"}
IMAGES = {224: (2, 2), 32: (64, 8)}  # for renorm, for the other side
MANY = {224: 16, 32: 512}
SEVERITIES = (1, 3, 5)
ROUNDS = 5


def mended():
    """The functions of imagecorruptions, or None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pkg_resources
            import cv2
            import imagecorruptions
            from imagecorruptions import corruptions
    except ImportError:
        return None
    smooth = corruptions.gaussian
    corruptions.gaussian = lambda *given, multichannel=False, **named: smooth(
        *given, channel_axis=-1 if multichannel else None, **named
    )
    np.float_ = np.float64
    cv2.setNumThreads(torch.get_num_threads())
    return imagecorruptions.corrupt


def sides(name, size, x, peer):
    ours, theirs = IMAGES[size]
    arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in x[:theirs]]
    calls = {"renorm": lambda: [corrupt(x[:ours], name, s, range(ours), scale=224) for s in SEVERITIES]}
    if peer:
        calls["peer"] = lambda: [peer(a, corruption_name=name, severity=s) for s in SEVERITIES for a in arrays]
    if size == 32:
        calls["own"] = lambda: [corrupt(x[:ours], name, s, range(ours), scale=32) for s in SEVERITIES]
    return calls


def times(name, size, x, peer):
    """Milliseconds of an image on each side, as far as there is one."""
    ours, theirs = IMAGES[size]
    found = ratios(sides(name, size, x, peer), rounds=ROUNDS, repeats=1)
    own = found["ms"] / ours / len(SEVERITIES)
    there = found.get("peer", float("nan")) * ours / theirs
    return own, there, own * found.get("own", 1.0)


def growth(name, size, x):
    """Megabytes that the process grows by."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe()

    def work():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        corrupt(x[: MANY[size]], name, 3, range(MANY[size]))
        send.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)

    process = context.Process(target=work)
    process.start()
    process.join()
    return receive.recv()


def measure(size, threads):
    torch.set_num_threads(1)
    x = renorm.data.load(str(DATA / FILES[size])).batch(range(MANY[size]))[0]
    memory = {name: growth(name, size, x) for name in STANDARD + HELD_OUT}
    torch.set_num_threads(threads)
    peer = mended()
    print(f"\n{size} pixels, {machine()}, {threads} of {os.cpu_count()} cores")
    print(f"{'':18} {'renorm ms':>10} {'faster':>8} {'own ms':>8} {'MB':>6}")
    rows = {}
    for name in STANDARD + HELD_OUT:
        own, ratio, table = rows[name] = times(name, size, x, peer)
        print(f"{name:18} {own:10.3f} {ratio:8.1f} {table:8.3f} {memory[name]:6.0f}", flush=True)
    for label, names in (("the 15", STANDARD), ("all 19", STANDARD + HELD_OUT)):
        here, there, table = (
            sum(values) / len(names)
            for values in zip(*((r[0], r[0] * r[1], r[2]) for r in map(rows.get, names)), strict=True)
        )
        print(f"{'mean of ' + label:18} {here:10.3f} {there / here:8.1f} {table:8.3f}", flush=True)


if __name__ == "__main__":
    machine()
    warnings.filterwarnings("ignore", module="imagecorruptions")  # a spatter without a drop divides by 0
    chosen = [int(argument) for argument in sys.argv[1:]]
    for size in chosen[:1] or (224, 32):
        for threads in chosen[1:] or (1, 2):
            measure(size, threads)
