"""``{speed} PART`` draws a part of book/measured/benchmarks.json: a table, or the picture.

PART is made, one, all, memory, growth, sweeps or picture.
"""

import html
import io
import json

from docutils import nodes

from .directive import Markdown, table

RESULTS = "book/measured/benchmarks.json"
WHO = ("zerocam", "Captum", "TorchCAM", "pytorch-grad-cam")
SCATTER = 2  # MiB: how far the mark of one call moves from run to run
HEAVY_HEAD = ("vgg16", "mobilenet_v3_large")  # at batch 1 their heads' own backward shows


def one_limit(net: str, batch: int) -> float:
    """What one class may cost, in forward passes."""
    return 1.05 if batch > 1 else 1.20 if net in HEAVY_HEAD else 1.10


def all_limit(net: str) -> float | None:
    """What all classes may cost, in forward passes; None where nothing was promised."""
    return {"vgg16": 13, "mobilenet_v3_large": 3.5, "convnext_tiny": None}.get(net, 1.10)


def extrapolated(row: dict, who: str) -> float:
    """A peer's cost of all classes: of ten, or else of one, times what is missing."""
    if f"{who}, ten" in row:
        return row[f"{who}, ten"] / 10 * row["classes"]
    return row[who]["median"] * row["classes"]


def made(found: dict) -> str:
    """How, where and when."""
    m = found["made"]
    packages = ", ".join(f"{k} {m[k]}" for k in ("torch", "captum", "torchcam", "grad-cam"))
    return (
        f"Made by `{m['command']}` on {m['date']} in {m['minutes']} minutes: {m['cpu']}, "
        f"{m['cores']} cores, {m['threads']} threads; Python {m['python']}, {packages}."
    )


def one(found: dict) -> list[list[str]]:
    """One class, in forward passes."""
    head = ["Network", "Batch", "zerocam", "Allowed", *WHO[1:], "Forward again"]
    rows = [
        [
            row["net"],
            str(row["batch"]),
            _between(row["zerocam"]),
            _verdict(row["zerocam"], one_limit(row["net"], row["batch"])),
            *(f"{row[who]['median']:.2f}" for who in WHO[1:]),
            _between(row["noise"]),
        ]
        for row in found["costs"]
    ]
    return [head, *rows]


def every(found: dict) -> list[list[str]]:
    """All classes, in forward passes."""
    head = ["Network", "Batch", "zerocam", "Allowed", *(f"{who}, extrapolated" for who in WHO[1:])]
    rows = []
    for row in found["costs"]:
        cost, limit = row["zerocam, all"], all_limit(row["net"])
        peers = [f"{extrapolated(row, who):,.0f}" for who in WHO[1:]]
        allowed = "–" if limit is None else _verdict(cost, limit)
        rows.append([row["net"], str(row["batch"]), _between(cost), allowed, *peers])
    return [head, *rows]


def memory(found: dict) -> list[list[str]]:
    """Peak MiB above the loaded model and its input."""
    head = ["Network", "Batch", "forward", *WHO, "Allowed", "zerocam, all classes"]
    rows = []
    for row in found["memory"]:
        limit = row["forward"] + 2 * row["activation"] + SCATTER
        allowed = _verdict(dict.fromkeys(("low", "high"), row["zerocam"]), limit, 0)
        peaks = [f"{row[what]:.0f}" for what in ("forward", *WHO)]
        rows.append([row["net"], str(row["batch"]), *peaks, allowed, f"{row['zerocam, all']:.0f}"])
    return [head, *rows]


def growth(found: dict) -> list[list[str]]:
    """How the cost of one and of all classes grows."""
    rows = [["resnet18", "Value", "Forward, ms", "One class", "All classes"]]
    for kind, cases in found["growth"].items():
        rows += [
            [
                kind,
                f"{case['value']:,}",
                f"{1000 * case['unit_seconds']:.0f}",
                f"{case['one']:.2f}",
                f"{case['all']:.2f}",
            ]
            for case in cases
        ]
    return rows


def sweeps(found: dict) -> list[list[str]]:
    """Many networks or seeds: together over one after the other; below 1 is a gain."""
    rows = [["Seeds", "One by one, s", "Together, s", "Together / one by one"]]
    for case in found["ensembles"]:
        loop, n = case["loop_seconds"], case["members"]
        rows.append([f"vmap, {n}", f"{loop:.2f}", f"{loop * case['median']:.2f}"])
        rows[-1] += [f"{case['median']:.2f}"]
    for case in found["clusters"]:
        serial, dask = case["serial"], case["dask"]
        rows.append([f"Dask, {case['seeds']}", f"{serial:.1f}", f"{dask:.1f}"])
        rows[-1] += [f"{dask / serial:.2f}"]
    return rows


def _between(cost: dict[str, float]) -> str:
    return f"{cost['median']:.2f} ({cost['low']:.2f}–{cost['high']:.2f})"


def _verdict(cost: dict[str, float], limit: float, digits: int = 2) -> str:
    """What all of the interval says."""
    open_ = "not kept" if cost["low"] > limit else "undecided"
    return f"{limit:.{digits}f}: {'kept' if cost['high'] <= limit else open_}"


TABLES = {"one": one, "all": every, "memory": memory, "growth": growth, "sweeps": sweeps}


def picture(found: dict) -> str:
    """SVG: filled, one class; hollow, all classes; a row for each network, a mark for each."""
    import matplotlib

    matplotlib.use("agg", force=False)
    from matplotlib import pyplot as plt

    from zerocam.plots import INKS

    batch = max(row["batch"] for row in found["costs"])
    rows = [row for row in found["costs"] if row["batch"] == batch]
    with plt.rc_context({"svg.hashsalt": "zerocam", "svg.fonttype": "path", "font.size": 11}):
        fig, ax = plt.subplots(figsize=(5.4, 0.5 * len(rows) + 2), facecolor="white")
        for n, (who, mark, colour) in enumerate(zip(WHO, "osD^", INKS, strict=True)):
            at = [row + (n - 1.5) / 6 for row in range(len(rows))]  # none hides another
            one = [row[who]["median"] for row in rows]
            many = [
                row["zerocam, all"]["median"] if who == "zerocam" else extrapolated(row, who)
                for row in rows
            ]
            ax.plot(one, at, mark, color=colour, label=who)
            ax.plot(many, at, mark, color=colour, markerfacecolor="white")
        ax.set_xscale("log")
        ax.axvline(1, color="0.6", linewidth=1)
        ax.set_yticks(range(len(rows)), [row["net"] for row in rows])
        ax.invert_yaxis()
        ax.set_xlabel(f"cost in forward passes, batch {batch}\nfilled: one class, hollow: all")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        fig.tight_layout()
        out = io.StringIO()
        fig.savefig(out, format="svg", metadata={"Date": None})
        plt.close(fig)
    return out.getvalue()[out.getvalue().index("<svg") :]


def said(found: dict) -> str:
    """The picture in words."""
    batch = max(row["batch"] for row in found["costs"])
    rows = [row for row in found["costs"] if row["batch"] == batch]
    one = max(row["zerocam"]["median"] for row in rows)
    many = max(row["zerocam, all"]["median"] for row in rows)
    best = min(extrapolated(row, who) for row in rows for who in WHO[1:])
    return (
        f"Costs in forward passes for {len(rows)} networks. zerocam: at most {one:.2f} for one "
        f"class and {many:.1f} for all. The cheapest loop over all classes: {best:,.0f}."
    )


class Speed(Markdown):
    """A part of the benchmarks."""

    required_arguments = 1
    box = "costs"

    def found(self) -> dict:
        """The file."""
        path = self.root / RESULTS
        self.depends_on(path)
        return json.loads(path.read_text(encoding="utf-8"))

    def lines(self):
        """A table, or how it was made."""
        part, found = self.arguments[0], self.found()
        return [made(found)] if part == "made" else table(TABLES[part](found))

    def run(self):
        """Draw the part."""
        if self.arguments[0] != "picture":
            return super().run()
        found = self.found()
        figure = f'<div class="drawn" role="img" aria-label="{html.escape(said(found))}">'
        return [nodes.raw("", f"{figure}{picture(found)}</div>", format="html")]


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("speed", Speed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
