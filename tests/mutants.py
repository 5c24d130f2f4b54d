"""Wrong versions of the package that its tests must reject.  Run: python tests/mutants.py [module].

A mutant is (module, right, wrong): one place in src/zerocam/MODULE.py, and what to write there
instead.  It is run against tests/test_MODULE.py, or against the files named after it.  Each new law
adds one.  The working tree is never touched: a mutant lives in a copy of the package.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "zerocam"

RELU = "test_relu_ablation.py"

MUTANTS = [
    ("ledger", "if not condition:", "if condition is None:"),
    ("ledger", "if value not in found", "if name not in found"),
    ("ledger", 'sub(" ", piece) for piece', 'sub(piece, piece) for piece'),
    ("ledger", 'done.replace("−", "-")', "done"),
    ("ledger", r"(?<![\w.]){re", "{re"),
    ("ledger", "if write else wrong", "if not write else wrong"),
    ("ledger", "everywhere | chapter.printed", "everywhere"),
    ("ledger", "if claim not in registry", "if claim in registry"),
    ("ledger", 'c.number == entry["chapter"] for c', "True for c"),
    ("ledger", '(claim in guarded) == ("unguarded" in entry)', "False"),
    ("symmetries", "self.matrix.to(A).T", "self.matrix.to(A)"),
    ("symmetries", "+ self.shift.to(A)", ""),
    ("symmetries", "self.inverse().matrix.T", "self.inverse().matrix"),
    ("symmetries", "torch.zeros_like(self.shift)", "self.shift"),
    ("symmetries", "-inverse @ self.shift", "-self.shift"),
    ("symmetries", "                inverse = inverse.round()", "                pass"),
    ("symmetries", " and torch.equal(inverse.round() @ M, eye):", ":"),
    ("symmetries", "0, 1 / M).T, False", "0, 1 / M), False"),
    ("symmetries", "residual = (inverse.T * M).sum(0) - 1", "residual = 0 * eye"),
    ("symmetries", "(used.sum(1) == 1).all()", "True"),
    ("symmetries", "self.matrix @ other.shift + self.shift", "other.shift + self.shift"),
    ("symmetries", "torch.eye(len(order))[order]", "torch.eye(len(order))[order].T"),
    ("symmetries", "W + self.v.to(W)", "W - self.v.to(W)"),
    ("symmetries", "SoftmaxShift(-self.v, -self.beta)", "SoftmaxShift(-self.v, self.beta)"),
    ("symmetries", "self.beta + other.beta", "self.beta"),
    ("symmetries", "t = size * torch", "t = torch"),
    ("symmetries", "M = (Q * stretch) @ R", "M = (Q * stretch**9) @ R"),
    ("symmetries", "changed = copy.deepcopy(model)", "changed = model"),
    ("symmetries", "changed.eval()\n", "changed\n"),
    ("symmetries", "modes.get(module, model.training)", "False"),
    ("symmetries", "    return y.softmax(1) if", "    return 0 * y + 1 if"),
    ("symmetries", '_refuse("random activations"', 'id; ("random activations"'),
    ("symmetries", "if c is original]", "if c is original][:1]"),
    ("symmetries", "_Change(undo, channel_dim)", "_Change(undo, None)"),
    ("symmetries", "positive = T.monotone and not T.shift.any()", "positive = T.monotone"),
    ("symmetries", "MONOTONE: T.monotone, ", "MONOTONE: True, "),
    ("symmetries", ".get(reason, False):", ".get(reason, True):"),
    ("symmetries", "if list(node.users) != [reader] or", "if"),
    ("symmetries", "_recode_input(consumer, T.inverse())", "_recode_input(consumer, T)"),
    ("symmetries", '_refuse("its border", border, A, tolerance)', "pass"),
    ("symmetries", "M @ m.bias + t)", "M @ m.bias)"),
    ("symmetries", "grad = m.weight.requires_grad", "grad = True"),
    ("methods", "return (G * A).sum(1)", "return (G.mean((2, 3), keepdim=True) * A).sum(1)"),
    ("methods", "return (G.relu() * A).sum(1)", "return (G * A).relu().sum(1)"),
    ("methods", "2 + G * A.sum((2, 3), keepdim=True)", "2 + (G * A).sum((2, 3), keepdim=True)"),
    ("methods", "denominator == 0, 0", "denominator == 1e9, 0"),
    ("methods", "share.sum((2, 3))", "share.mean((2, 3))"),
    ("methods", "(G * A).sum((2, 3)) / total", "(G * A).sum((2, 3)) / (total + 1e-7)"),
    ("methods", "A.mean(1)", "A.sum(1)"),
    ("methods", "    if centred:", "    if not centred:"),
    ("methods", "return (M * peak.sign())", "return (M * M.sum(1, keepdim=True).sign())"),
    ("methods", "M = size[:, :1] * positions[:, 0]", "M = positions[:, 0]"),
    ("methods", "(up - low) / (high - low)", "up / high"),
    ("methods", ".softmax(1)\n    M =", "\n    M ="),
    ("methods", "b + m[:, None] * (x - b)", "m[:, None] * x"),
    ("methods", "model(x).argmax(1) if target is None else target", "target"),
    ("methods", "drops.append(whole - score(x))", "drops.append(score(x) - whole)"),
    ("methods", "alpha = torch.stack(drops, 1) / whole[:, None]", "alpha = torch.stack(drops, 1)"),
    ("methods", "if threading.get_ident() != owner:", "if False:"),
    ("methods", "if runs - 1 != (call or 0):", "if runs - 1 != 0:"),
    ("methods", "handle.remove()", "pass"),
    ("methods", "with torch.no_grad(), _left_as_it_was(model, x):", "with torch.no_grad():"),
    ("methods", "disable=not progress)\n        alpha", "disable=False)\n        alpha"),
    ("methods", "axis = 1 if A.ndim > 3 and A.shape[1] == K else -1", "axis = 1"),
    ("metrics", "(M - low) / spread", "(M - low) / high"),
    ("metrics", "torch.where(high > 0, M /", "torch.where(high != 0, M /"),
    ("metrics", "below + not_above - 1", "2 * below"),
    ("metrics", "& ~blank(M)", ""),
    ("metrics", "positive = M.relu()", "positive = M.abs()"),
    ("metrics", "normalise(M, how) > fraction", "normalise(M, how) >= fraction - 1e-6"),
    ("metrics", "chosen ^ insert", "chosen"),
    ("scenes", "labels[which[:, 0]] == labels[which[:, 1]]", "which[:, 0] == which[:, 1]"),
    ("scenes", ".amax(1) < PATCH", ".amax(1) < PATCH - 6"),
    ("scenes", "slice(TRAIN, None)", "slice(TRAIN - 1, None)"),
    ("scenes", "ink > 0)", "ink > 0.1)"),
    ("scenes", "align_corners=False", "align_corners=True"),
    ("training", "1 - len(steps) / (epochs * per_epoch)", "1 - len(steps) / len(x)"),
    ("training", "generator=order", ""),
    ("training", "momentum=momentum, weight_decay", "momentum=0.9, weight_decay"),
    ("training", "torch.set_num_threads(1)\n", "pass\n"),
    ("training", "        model.eval()\n", ""),
    ("models", "gain = 2 if", "gain = 1 if"),
    ("models", "generator=g, ", ""),
    ("models", "right // 2, right - right // 2", "right - right // 2, right // 2"),
    ("models", "(photo * 255 - 127) / 128", "(photo * 255 - 128) / 128"),
    ("plots", "vmin=-bound, vmax=bound)", "vmin=array.min(), vmax=array.max())"),
    ("plots", "np.clip(np.abs(array) / bound", "np.clip(array / bound"),
    ("photos", "mask[:, size:]", "mask[:, :size]"),
    ("encodings", "scale * torch.eye(classes, dtype=dtype) +", "torch.eye(classes, dtype=dtype) +"),
    ("encodings", "scaled(classes, 2, -1", "scaled(classes, 2, 0"),
    ("encodings", "amount / classes, dtype", "amount / (classes - 1), dtype"),
    ("encodings", "return T[labels]", "return T.T[labels]"),
    ("encodings", "labels.min() < 0 or ", ""),
    ("encodings", "T.square().sum(1) / 2", "T.square().sum(1)"),
    ("encodings", ").argmax(1)", ").argmin(1)"),
    ("encodings", ".sum(1).mean() / 2", ".mean() / 2"),
    ("encodings", "if T.min() < 0:", "if T.sum() < 0:"),
    ("encodings", "if not torch.allclose(T.sum(1)", "if not torch.allclose(T.mean(1)"),
    ("training", "in last.parameters()", "in [last.weight]", "test_encodings.py"),
    ("training", "twin = copy.deepcopy(model)", "twin = model", "test_encodings.py"),
    ("experiments", "todo = [seed for seed in wanted if seed not in done]", "todo = wanted"),
    ("experiments", "Result(name, {seed: done[seed] for seed in wanted})", "Result(name, done)"),
    ("experiments", "(1 / n + one_more) ** 0.5", "(1 / n) ** 0.5"),
    ("experiments", "t.ppf(0.975, n - 1)", "t.ppf(0.975, n)"),
    ("experiments", "round(value, digits) + 0.0", "round(value, digits)"),
    ("experiments", "| names or {", "or {"),
    ("experiments", '"abs": M.abs()', '"abs": M.relu()', RELU),
    ("experiments", '"negative": (-M).relu()', '"negative": -M', RELU),
    ("experiments", "(alpha, alpha.abs(), alpha.relu())", "(alpha, alpha.abs(), alpha)", RELU),
    ("experiments", '{"rank": 0.85', '{"rank": 0.15', RELU),
    ("experiments", "2 * pixels + 1, 1, pixels)", "2 * pixels - 1, 1, pixels - 1)", RELU),
    ("experiments", "signed_map(alpha - shift, A)", "signed_map(alpha + shift, A)", RELU),
    ("cam", "return G.mean((-2, -1))", "return G.sum((-2, -1))"),
    ("cam", "return G.mean((-2, -1))", "return G.relu().mean((-2, -1))"),
    ("cam", "return G.mean((-2, -1))", "return G.amax((-2, -1))"),
    ("cam", '"nk,nkij->nij", alpha, A)', '"nk,nkij->nij", alpha, A.relu())'),
    ("cam", '"nk,nkij->nij", alpha, A)', '"nk,nkij->nij", alpha.relu(), A)'),
    ("cam", '"nk,nkij->nij", alpha, A)', '"nk,nkij->nij", alpha, A) / A.shape[1]'),
    ("cam", "    return M.relu() if relu else M", "    return M.abs() if relu else M"),
    ("cam", "    return M.relu() if relu else M", "    return M.relu()"),
    ("cam", "    return M.relu_() if relu else M", "    return M.relu_()"),
    ("cam", "alpha_Z = back(rows[part, None]", "alpha_Z = back(rows.flip(0)[part, None]"),
    ("cam", "slice(here[0], here[-1] + 1)", "slice(here[0], here[-1])"),
    ("cam", "held = leaf.numel()", "held = 1", "test_heads.py"),
    ("cam", "held = n * max(", "held = min(", "test_heads.py"),
    ("cam", "list(dict.fromkeys(found))", "found[:1]"),
    ("heads", "if bool((off <= allowed * expected.abs().amax(1)).all()):", "if True:"),
    ("heads", "amax(1)).all()", "amax(1)).any()"),
    ("heads", "allowed > 1e-4", "False"),
    ("heads", "v = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), "
     "dtype=torch.float64).to(y)", "v = y.detach() * 0\n    v[:, 0] = 1"),
    ("heads", ".unflatten(1, (K, -1)).sum(-1)", ".unflatten(1, (K, -1)).mean(-1)"),
    ("heads", "sorted(steps, key=lambda step: not isinstance(step.module, nn.Linear))", "steps"),
    ("heads", "for step in steps if step.out.node is y.grad_fn]", "for step in steps[-1:]]"),
    ("heads", "len(size) == 2 and ", ""),
    ("heads", "g.flatten(2) if self.S is None else g @ self.S", "g.flatten(2)"),
    ("cam", "autograd.grad(s.sum(), leaf", "autograd.grad(y.sum(), leaf"),
    ("cam", "return leaf.clone()", "return leaf"),
    ("cam", "            handle.remove()", "            pass"),
    ("cam", "call is None and runs > 1", "False"),
    ("cam", "runs - 1 != (call or 0)", "runs - 1 != 0"),
    ("cam", "tokens[:, skip:]", "tokens[:, : tokens.shape[1] - skip]"),
    ("cam", "transpose(1, 2).unflatten(2, (h, w))", "transpose(1, 2).unflatten(2, (w, h)).mT"),
    ("cam", "A.permute(0, 3, 1, 2)", "A.permute(0, 3, 2, 1)"),
    ("cam", "(k == h < w or w > 8 * max(k, h))", "False"),
    ("cam", "A.shape[2] * A.shape[3] <= 1", "False"),
    ("cam", "if not bool(torch.isfinite(t).all()):", "if bool(torch.isnan(t).all()):"),
    ("cam", "if not weights.any():", "if not M.any():"),
    ("cam", "elif high <= 0 and low < 0:", "elif high < 0:"),
    ("cam", '"tiny" if high < tiny', '"tiny" if high > tiny'),
    ("cam", "if len(x) == 0:", "if False:"),
    ("targets", "return y.argmax(1)", "return y.argmin(1)"),
    ("targets", "_pick(y, c) - y.mean(1)", "_pick(y, c) - y.mean()"),
    ("targets", "_pick(y, c) - _pick(y, d)", "_pick(y, d) - _pick(y, c)"),
    ("targets", "y.log_softmax(1)", "y.log_softmax(0)"),
    ("targets", "return lambda y: -t(y)", "return lambda y: t(-y)"),
    ("targets", "if bool((index < 0).any()) or", "if"),
    ("references", "A.mean((-2, -1), keepdim=True)", "A.mean((0, -2, -1), keepdim=True)"),
    ("references", "A0.mean((0, 2, 3), keepdim=True)", "A0[:1].mean((0, 2, 3), keepdim=True)"),
    ("references", "return A.new_zeros(1, 1, 1, 1)", "return A.new_ones(1, 1, 1, 1)"),
    ("audit", "(high - low <= tolerance).all()", "(high <= tolerance).all()"),
    ("audit", "peak >= after.amax", "peak <= after.amax"),
    ("audit", 'choices.keys().isdisjoint(("reshape", "call"))', "True"),
    ("audit", "method.keywords | choices", "choices"),
    ("audit", 'drawn["shift"] @ drawn["mixing"]', 'drawn["mixing"]'),
    ("audit", "mask_kept(before, after) and mask_kept(after, before)", "mask_kept(before, after)"),
]  # fmt: skip


def tests_of(mutant: tuple[str, ...]) -> tuple[str, ...]:
    """The test files that must reject a mutant."""
    return mutant[3:] or (f"test_{mutant[0]}.py",)


def mutate(mutant: tuple[str, ...] | None, folder: str) -> None:
    """Write the package, with the mutant's one change if there is one, into a folder."""
    copy = Path(folder) / "zerocam"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is None:
        return
    module, right, wrong = mutant[:3]
    source = (copy / f"{module}.py").read_text(encoding="utf-8")
    if (n := source.count(right)) != 1:
        raise ValueError(f"{module}.py holds {right!r} {n} times; wanted once: mend the mutant")
    (copy / f"{module}.py").write_text(source.replace(right, wrong), encoding="utf-8")


def passes(files: tuple[str, ...], mutant: tuple[str, ...] | None = None) -> bool:
    """Whether the tests pass on a copy of the package; for a process that does nothing else."""
    import pytest

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        mutate(mutant, folder)
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        sys.path.insert(0, folder)
        sys.dont_write_bytecode = True
        os.environ["PYTHONPATH"] = folder
        code = pytest.main(
            ["-qx", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:nbval"]
            + ["--hypothesis-profile=mutants"]
            + [str(ROOT / "tests" / name) for name in files]
        )
        if code not in (0, 1):  # 1: a test failed, as it should; anything else is our own fault
            log.seek(0)
            raise RuntimeError(f"the tests could not run on {mutant}:\n{log.read().decode()}")
        imported = sys.modules["zerocam"].__file__
        if not imported.startswith(folder):
            raise RuntimeError(f"the tests ran on {imported}, not on the copy")
    return code == 0


def survives(mutant: tuple[str, ...]) -> bool:
    """Whether the tests fail to notice a mutant."""
    return passes(tests_of(mutant), mutant)


def main(modules: list[str]) -> int:
    """Test the clean package, then every mutant; 1 if one survives."""
    os.chdir(ROOT)
    mutants = [m for m in MUTANTS if not modules or m[0] in modules]
    files = tuple(sorted({name for m in mutants for name in tests_of(m)}))
    # Each mutant has a process of its own, forked from one that has imported torch already.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torchvision", "hypothesis", "jaxtyping", "beartype"])
    with context.Pool(2, maxtasksperchild=1) as pool:
        if not pool.apply(passes, (files,)):
            print(f"the clean package must pass first; see: pytest {' '.join(files)}")
            return 1
        lives = pool.map(survives, mutants, chunksize=1)
    alive = [mutant for mutant, live in zip(mutants, lives, strict=True) if live]
    print(f"{len(mutants) - len(alive)} of {len(mutants)} mutants rejected")
    for module, right, wrong, *_ in alive:
        print(f"SURVIVES in {module}.py: {right!r} -> {wrong!r}")
    return int(bool(alive) or not mutants)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
