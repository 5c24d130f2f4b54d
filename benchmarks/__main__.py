"""Measure what class maps cost, and write book/measured/benchmarks.json.

Every network is first checked against Captum's raw map, then timed, all libraries in turn, in
units of its own bare forward pass under inference_mode, just before and just after.  Takes half an
hour; close what else runs.
"""

import argparse
import os
import platform
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks import calls, memory, sweeps
from benchmarks.clock import Calls, ratios, seconds
from zerocam.lab.provenance import made_by, write_json

RESULTS = Path(__file__).parents[1] / "book" / "measured" / "benchmarks.json"
PACKAGES = ("torchvision", "captum", "torchcam", "grad-cam", "dask")


def machine() -> dict[str, str | int]:
    """What the seconds depend on; the ratios depend on it less."""
    found = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        found = names[0].split(":")[1].strip() if names else found
    return {"cpu": found, "cores": os.cpu_count() or 1, "threads": torch.get_num_threads()}


def costs(name: str, batch: int, size: int, rounds: int, least: float, ten: bool) -> dict:
    """One network: one class by each library, ten by a loop over the peers, all by ours."""
    model, x, layer = calls.net(name, size, batch)
    off = calls.disagreement(model, x, layer)

    def cleaned(call: calls.Call, c: int = calls.CLASS) -> None:
        call(model, x, layer, c)
        model.zero_grad(set_to_none=True)  # one library leaves gradients behind

    unit = partial(calls.forward, model, x, layer)
    every: Calls = {who: partial(cleaned, call) for who, call in calls.ONE_CLASS.items()}
    every["zerocam, all"] = partial(calls.ours_all, model, x, layer)
    row = {"net": name, "batch": batch, "classes": unit().shape[1], "disagreement": off}
    row |= ratios(unit, every, rounds, least)
    if ten:
        one = row["unit_seconds"]["median"]
        for who, call in calls.ONE_CLASS.items():
            if who != "zerocam":
                row[f"{who}, ten"] = (
                    seconds(lambda call=call: [cleaned(call, c) for c in range(10)]) / one
                )
    return row


def growth(name: str, rounds: int, quick: bool) -> dict[str, list[dict]]:
    """How one class and all classes grow with the batch, the resolution and the classes."""
    found: dict[str, list[dict]] = {"batch": [], "resolution": [], "classes": []}

    def measure(kind: str, value: int, model: torch.nn.Module, x: torch.Tensor, layer: str) -> None:
        unit = partial(calls.forward, model, x, layer)
        every = {"one": partial(calls.ours, model, x, layer, 0)}
        every["all"] = partial(calls.ours_all, model, x, layer)
        row = ratios(unit, every, rounds)
        found[kind].append({"value": value} | {key: row[key]["median"] for key in row})

    for batch in (1, 2) if quick else (1, 2, 4, 8, 16):
        measure("batch", batch, *calls.net(name, 64 if quick else 224, batch))
    for size in (64, 96) if quick else (112, 224, 448):
        measure("resolution", size, *calls.net(name, size))
    for classes in (2, 10) if quick else (10, 100, 1000, 10000):
        model, x, layer = calls.net(name, 64 if quick else 224)
        model.fc = torch.nn.utils.skip_init(torch.nn.Linear, model.fc.in_features, classes)
        torch.nn.init.normal_(model.fc.weight, generator=torch.Generator().manual_seed(0))
        torch.nn.init.zeros_(model.fc.bias)
        measure("classes", classes, model, x, layer)
    return found


def measure(nets: list[str], batches: list[int], rounds: int, least: float, quick: bool) -> dict:
    """Everything, in the order of the page; `quick` is for tests and says nothing about speed."""
    size = 64 if quick else 224
    found: dict = {"costs": [], "memory": []}
    for name, batch in tqdm([(name, batch) for batch in batches for name in nets], "cost"):
        found["costs"].append(costs(name, batch, size, rounds, least, ten=batch == 1))
    for batch in tqdm(batches, "memory"):
        found["memory"] += memory.peaks(nets, batch, size)
    found["growth"] = growth("resnet18", rounds, quick)
    found["ensembles"] = sweeps.ensembles([2] if quick else [1, 2, 4, 8, 16], rounds)
    found["clusters"] = [] if quick else sweeps.clusters([1, 2, 4, 8, 16, 32])
    return found


def _rounded(found: Any) -> Any:
    """Four digits: more would be noise."""
    if isinstance(found, dict):
        return {key: _rounded(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_rounded(value) for value in found]
    return float(f"{found:.4g}") if isinstance(found, float) else found


def main(argv: list[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--nets", nargs="+", choices=list(calls.NETS), default=list(calls.NETS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=7, help="of each case, at least (default 7)")
    parser.add_argument("--seconds", type=float, default=60, help="of each case of the first two "
                        "tables, at least (default 60)")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small pictures, few cases, for tests")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file to write")
    argv = sys.argv[1:] if argv is None else argv
    options = parser.parse_args(argv)
    start = time.monotonic()
    found = measure(options.nets, options.batches, options.rounds, options.seconds, options.quick)
    said = [word for word in argv if word != "--out" and word != str(options.out)]
    made: dict = made_by(" ".join(["python -m benchmarks", *said]), *PACKAGES) | machine()
    made["minutes"] = round((time.monotonic() - start) / 60, 1)
    write_json(options.out, {"made": made} | _rounded(found))
    print(f"{options.out} written, {made['minutes']} minutes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
