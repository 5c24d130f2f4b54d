"""Peak memory of one call, each in a process of its own; only Linux lets the mark start again.

The peak counts from "model loaded, input built", after a call on a tiny network, so that loading
code does not count.  The C library is told to hand freed memory back at once: else the mark shows
the luck of its heap, which differs by a fifth from run to run.
"""

import ctypes
import multiprocessing
import re
from pathlib import Path

from benchmarks import calls

MEBI = 2**20
MARK = Path("/proc/self/clear_refs")


def _status(key: str) -> float:
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+) kB", text).group(1)) / 1024


def _peak(name: str, what: str, batch: int, size: int) -> float:
    """MiB that one call of one library adds to the process, at its highest."""
    import torch
    from torch import nn

    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, 2**16)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 0)  # M_TRIM_THRESHOLD
    torch.set_num_threads(1)  # each thread has buffers of its own
    every = calls.ONE_CLASS | {"forward": calls.forward, "zerocam, all": calls.ours_all}
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)]
    tiny = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), *head).eval()
    every[what](tiny, torch.randn(1, 3, 16, 16), "0")
    model, x, layer = calls.net(name, size, batch)
    MARK.write_text("5")  # the highest mark starts again from here
    before = _status("VmRSS")
    every[what](model, x, layer)
    return _status("VmHWM") - before


def peaks(names: list[str], batch: int, size: int = 224) -> list[dict]:
    """For each network: MiB added by each call, and the layer's activations; off Linux, nothing."""
    if not MARK.exists():
        return []
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "torchvision", "zerocam", "captum.attr", "torchcam.methods", "pytorch_grad_cam"]
    )
    rows = []
    with context.Pool(1, maxtasksperchild=1) as pool:
        for name in names:
            row = {"net": name, "batch": batch}
            for what in ("forward", *calls.ONE_CLASS, "zerocam, all"):
                row[what] = round(pool.apply(_peak, (name, what, batch, size)), 1)
            row["activation"] = round(pool.apply(_activation, (name, batch, size)), 1)
            rows.append(row)
    return rows


def _activation(name: str, batch: int, size: int) -> float:
    import zerocam

    model, x, layer = calls.net(name, size)
    A = zerocam.activations(model, x, layer=layer)
    return batch * A.numel() * A.element_size() / MEBI
