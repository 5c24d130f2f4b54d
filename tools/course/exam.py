"""The exam: eight questions, whose numbers a seed chooses, and their solutions.

papers/exam.md and papers/exam-solutions.md name numbers as <<name>>; here they are computed.
"""

import random
import re
from pathlib import Path

import torch
from torch import Tensor

from zerocam import metrics

PAPERS = Path(__file__).parent / "papers"


def exam(seed: str) -> tuple[str, str]:
    """The questions, and the solutions with their points."""
    values = numbers(random.Random(f"{seed} exam"))
    texts = ((PAPERS / f"{n}.md").read_text("utf-8") for n in ("exam", "exam-solutions"))
    questions, solutions = (re.sub(r"<<(\w+)>>", lambda m: values[m[1]], text) for text in texts)
    return questions, solutions


def numbers(draw: random.Random) -> dict[str, str]:
    """Everything that the questions and solutions name."""

    def whole(*shape: int, low: int = 0, high: int = 5) -> Tensor:
        size = torch.Size(shape)
        return torch.tensor([draw.randint(low, high) for _ in range(size.numel())]).view(size) * 1.0

    A = 4 * whole(2, 2, 2, low=1, high=3)
    w = torch.tensor(draw.choice([(2.0, -1.0), (3.0, -2.0), (1.0, -2.0), (2.0, -3.0)]))
    bias, t = draw.randint(1, 4), 4 * draw.choice([1, 2, 3])
    M = torch.einsum("k,kij->ij", w, A) / 4
    moved = (w[1] * t / 4).item()
    rows = whole(3, 2, low=-5, high=5)
    rows[2] = rows[0] + rows[1] - 3 * whole(2, low=1, high=3)  # the mean row is whole
    rows[2] += (-rows.sum(0)) % 3
    covered = A.clone()
    covered[0, draw.randint(0, 1)] = 0
    D = w[0] * (A[0] - covered[0]) / 4
    scaling, shift = draw.choice([(-1, 1), (-2, 1), (-1, 2), (-2, 2)])
    cut = torch.tensor(draw.choice([(10, 4, -10, -6), (20, 8, -20, -12), (10, 3, -10, -5)])) * 1.0
    found = {
        "a1": A[0], "a2": A[1], "map": M, "mapt": M + moved, "c1": covered[0], "d": D,
    }  # fmt: skip
    values = {f"{key}{i + 1}": _row(m[i]) for key, m in found.items() for i in (0, 1)}
    means, score = A.mean((1, 2)), (w @ A.mean((1, 2)) + bias).item()
    values |= {"mean1": f"{means[0]:g}", "mean2": f"{means[1]:g}", "score": f"{score:g}"}
    values |= {"w1": f"{w[0]:g}", "w2": f"{w[1]:g}", "b": str(bias), "t": str(t)}
    values |= {"sum": f"{M.sum():g}", "moved": f"{moved:g}", "dsum": f"{D.sum():g}"}
    values["newbias"] = f"{bias - w[1].item() * t:g}"
    values |= {f"r{i + 1}": _row(r) for i, r in enumerate(rows)}
    values |= {f"z{i + 1}": _row(r) for i, r in enumerate(rows - rows.mean(0))}
    values |= {"mr": _row(rows.mean(0)), "la": str(scaling), "lu": f"{shift:+d}", "m": _row(cut)}
    maps = {"boxa": (cut.relu(), "max"), "boxb": (cut, "max"), "boxc": (cut, "minmax")}
    for name, (map_, how) in maps.items():
        marked = cut[metrics.above(map_.view(1, 1, -1), 0.15, how).flatten()]
        values[name] = f"the positions with {_row(marked)}"
    return values


def _row(values: Tensor) -> str:
    return ", ".join(f"{v + 0.0:g}" for v in values.tolist())
