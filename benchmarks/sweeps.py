"""Many seeds at once: one vmapped step of an ensemble against a loop, and Dask against serial."""

import contextlib
import time
import warnings

import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, stack_module_state, vmap

from benchmarks.clock import ratios
from zerocam.lab.nets import SceneNet
from zerocam.lab.scenes import digit_scenes
from zerocam.lab.studies import STUDIES, run
from zerocam.lab.training import fit


def ensembles(sizes: list[int], rounds: int, batch: int = 20) -> list[dict]:
    """Gradients of one mini-batch for `members` networks: vmapped, over the same in a loop.

    Networks without BatchNorm, whose running statistics vmap refuses; one thread, as in training.
    """
    scenes = digit_scenes(batch, seed=0)
    x, labels = scenes.x.double(), scenes.labels[:, 0]
    rows = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for members in sizes:
            nets = [SceneNet(norm=False, seed=s, dtype=torch.float64) for s in range(members)]
            parameters, buffers = stack_module_state(nets)
            shell = nets[0]

            def loss(p, b, x, labels, shell=shell):
                return F.cross_entropy(functional_call(shell, (p, b), (x,)), labels)

            step = vmap(grad(loss), in_dims=(0, 0, None, None), randomness="different")

            def loop(nets=nets):
                out = []
                for net in nets:
                    value = F.cross_entropy(net(x), labels)
                    out.append(torch.autograd.grad(value, list(net.parameters())))
                return out

            def at_once(step=step, parameters=parameters, buffers=buffers):
                return step(parameters, buffers, x, labels)

            together, apart = at_once(), loop()
            for name, (key, _) in enumerate(nets[0].named_parameters()):
                alone = torch.stack([g[name] for g in apart])
                torch.testing.assert_close(together[key], alone, rtol=1e-8, atol=1e-10)
            found = ratios(loop, {"vmapped": at_once}, rounds)
            rows.append(
                {
                    "members": members,
                    **found["vmapped"],
                    "loop_seconds": found["unit_seconds"]["median"],
                }
            )
    finally:
        torch.set_num_threads(threads)
    return rows


def _training(seed: int) -> dict[str, float]:
    """A study of about a second: a small network on 200 scenes."""
    scenes, net = digit_scenes(200, seed=seed), SceneNet(seed=seed)
    return {"loss": fit(net, scenes.x, scenes.labels[:, 0], epochs=2, seed=seed).steps[-1]}


def clusters(counts: list[int], workers: int = 2) -> list[dict]:
    """Seconds for a number of seeds: one process, and Dask with two, with and without its start."""
    from distributed import LocalCluster

    STUDIES["benchmark"] = _training
    rows = []
    try:
        with warnings.catch_warnings(), contextlib.ExitStack() as stack:
            warnings.simplefilter("ignore")  # joblib and dask have their own
            start = time.perf_counter()
            cluster = stack.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            )
            run("benchmark", range(workers), scheduler=cluster.scheduler_address)
            started = time.perf_counter() - start
            run("benchmark", range(1))
            for n in counts:
                start = time.perf_counter()
                there = run("benchmark", range(n), scheduler=cluster.scheduler_address)
                dask = time.perf_counter() - start
                start = time.perf_counter()
                here = run("benchmark", range(n))
                serial = time.perf_counter() - start
                if here != there:
                    raise ValueError("the cluster gave other numbers than one process")
                rows.append({"seeds": n, "serial": serial, "dask": dask, "start": started})
    finally:
        del STUDIES["benchmark"]
    return rows
