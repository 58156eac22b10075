"""Gradient descent on deep networks, beside a plain PyTorch loop and the core's dgemm rate.

    python benchmarks/gd.py [--json] [--rounds 15]

One core, float64: d = 70, hidden width 35 (linear) or 25 (tanh), m = 210. Against (a) autograd
and SGD in PyTorch on the same problem, and (b) OpenBLAS's dgemm at 1024, in a fraction of its
rate: a linear step of depth N counts as the multiplications of forward and backward pass,
1.03, 1.54 and 2.57 MFLOP for N = 2, 3, 5. All are timed in turns, in processor time, so that
other work on the machine is not counted, and the best of each counts. Then: the cost with ten
times the samples, measuring and recording as a share of 10⁶ epochs, the memory of a run above
imports, and two runs on two cores, in wall-clock time.

OpenBLAS chooses its kernel when it is loaded. Where OPENBLAS_CORETYPE names one, dgemm is
measured without it as well, and the faster counts. The engine does without BLAS: its products
are compiled for the processor at hand, so that there is nothing for a user to choose.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._common import Result, parser, report

DEPTHS = (2, 3, 5)
PLAIN = {2: 10.0, 3: 10.0, 5: 8.5}  # times as fast as the plain loop, linear
PEAK = {2: 65.0, 3: 65.0, 5: 55.0}  # per cent of dgemm
TANH = 3.0
MEASURING = 3.0  # per cent of the time
MEMORY = 50.0  # MB
CORES = 1.8  # two runs on two cores, in runs on one


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=15, help="turns; the best counts")
    arguments.add_argument("--times", action="store_true", help="only the times, as JSON")
    options = arguments.parse_args()
    if options.times:
        print(json.dumps(times(options.rounds)))
        return
    chosen = child(["--times", "--rounds", str(options.rounds)], os.environ)
    free = chosen
    if "OPENBLAS_CORETYPE" in os.environ:
        unset = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
        free = child(["--times", "--rounds", str(options.rounds)], unset)
    found = max(chosen, free, key=lambda t: float(t["dgemm_gflops"]))
    details: dict[str, Any] = {
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "unset"),
        f"dgemm at 1024 as set, {chosen['kernel']}, GFLOP/s": chosen["dgemm_gflops"],
        f"dgemm at 1024 unset, {free['kernel']}, GFLOP/s": free["dgemm_gflops"],
        "engine's vectors, bytes": found["vector_bytes"],
    }
    report([*speed(found, details), *overheads(found), memory(), cores()], options.json)


def child(arguments: list[str], environment: Any) -> dict[str, Any]:
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def speed(found: dict[str, Any], details: dict[str, Any]) -> list[Result]:
    results = []
    for n in DEPTHS:
        plain, ours = found[f"plain linear {n}"], found[f"linear {n}"]
        times = {f"N = {n}, plain loop, µs": plain, f"N = {n}, engine, µs": ours}
        rate = megaflop(n) / ours * 1e3
        share = 100 * rate / found["dgemm_gflops"]
        results += [
            Result(f"linear, N = {n}", plain / ours, PLAIN[n], "×", details | times, True),
            Result(
                f"linear, N = {n}, of dgemm", share, PEAK[n], "%",
                {f"N = {n}, engine, GFLOP/s": rate}, True,
            ),
        ]  # fmt: skip
        details = {}
    for n in DEPTHS:
        plain, ours = found[f"plain tanh {n}"], found[f"tanh {n}"]
        times = {f"N = {n}, tanh, plain loop, µs": plain, f"N = {n}, tanh, engine, µs": ours}
        results.append(Result(f"tanh, N = {n}", plain / ours, TANH, "×", times, True))
    return results


def overheads(found: dict[str, Any]) -> list[Result]:
    many = found["many samples"] / found["linear 2"]
    share = 100 * found["measuring_seconds"] / (found["linear 2"] + found["measuring_seconds"])
    return [
        Result("ten times the samples, N = 2", many, 1.1),
        Result("measuring and recording 10⁶ epochs, N = 2", share, MEASURING, "%"),
    ]


def megaflop(depth: int, d: int = 70, width: int = 35) -> float:
    """Of a step that forms every partial product of the forward and the backward pass."""
    return 6 * (d * width * d + (depth - 2) * width * width * d) / 1e6


# --- what is timed, in a process of its own


def times(rounds: int) -> dict[str, Any]:
    """Microseconds a step, and GFLOP/s of dgemm: the best of ``rounds`` turns."""
    import numpy as np
    import torch
    from scipy.linalg.blas import dgemm
    from threadpoolctl import threadpool_info, threadpool_limits

    from lrscale.theory.kernels import vector_bytes

    threadpool_limits(1)
    torch.set_num_threads(1)
    matrix = np.asfortranarray(np.random.default_rng(0).normal(size=(1024, 1024)))
    result = np.zeros_like(matrix, order="F")
    tasks: dict[str, tuple[Callable[[int], Any], int]] = {
        "dgemm": (lambda _: dgemm(1.0, matrix, matrix, c=result, overwrite_c=1), 1),
        "many samples": (engine(config(2, samples=2100)).advance, 1000),
    }
    for n in DEPTHS:
        for activation in ("linear", "tanh"):
            run = config(n, activation)
            tasks[f"{activation} {n}"] = (
                engine(run).advance,
                1000 if activation == "linear" else 200,
            )
            tasks[f"plain {activation} {n}"] = (plain(run), 50)
    best = dict.fromkeys(tasks, math.inf)
    for function, _ in tasks.values():
        function(3)
    for _ in range(rounds):
        for name, (function, steps) in tasks.items():
            started = time.process_time()
            function(steps)
            best[name] = min(best[name], (time.process_time() - started) / steps * 1e6)
    blas = [p for p in threadpool_info() if "scipy.libs" in p["filepath"]]
    return best | {
        "dgemm_gflops": 2 * 1024**3 / best["dgemm"] / 1e3,
        "kernel": blas[0].get("architecture", "?") if blas else "?",
        "vector_bytes": vector_bytes(),
        "measuring_seconds": measuring_seconds(),
    }


def config(depth: int, activation: str = "linear", samples: int = 210) -> Any:
    from lrscale.config import decode

    return decode(
        {
            "workload": "gd",
            "depth": depth,
            "rank": 35 if activation == "linear" else 25,
            "activation": activation,
            "input": {"samples": samples},
            "step_size": {"name": "constant", "eta": 1e-5},
        }
    )


def engine(run: Any) -> Any:
    """A ``GradientDescent`` at the start of a run."""
    from lrscale.theory.engine import GradientDescent
    from lrscale.theory.setting import new_setting

    setting = new_setting(run)
    return GradientDescent(setting.problem, setting.weights, setting.step_sizes)


def plain(run: Any, device: str = "cpu") -> Callable[[int], None]:
    """What one would write: autograd and SGD in float64."""
    import torch

    from lrscale.theory.problem import make_problem
    from lrscale.theory.starts import make_start

    problem = make_problem(run)
    inputs, targets = (torch.tensor(a, device=device) for a in (problem.inputs, problem.targets))
    weights = [torch.tensor(w, device=device, requires_grad=True) for w in make_start(run)]
    optimizer = torch.optim.SGD(weights, lr=run.step_size.eta)
    tanh = run.activation == "tanh"

    def advance(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            values = inputs
            for weight in weights:
                values = weight @ values
                if tanh:
                    values = torch.tanh(values)
            loss = 0.5 * (targets - values).pow(2).sum()
            loss.backward()
            optimizer.step()

    return advance


def measuring_seconds() -> float:
    """All measurements of a run of 10⁶ epochs, from the best time of each kind."""
    from lrscale.theory.epochs import measured_epochs, sharpness_epochs
    from lrscale.theory.observables import measure

    run = config(2)
    descent = engine(run)
    descent.advance(100)
    cost = {}
    for sharp in (False, True):
        seconds = []
        for _ in range(10):
            started = time.process_time()
            json.dumps(measure(descent.problem, descent.weights, sharp))
            seconds.append(time.process_time() - started)
        cost[sharp] = min(seconds)
    sharp_epochs = len(sharpness_epochs(run))
    return (len(measured_epochs(run)) - sharp_epochs) * cost[False] + sharp_epochs * cost[True]


def memory() -> Result:
    """Of a run of depth 5 with its measurements, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    worker = context.Process(target=memory_of_a_run, args=(queue,))
    worker.start()
    loading, running = queue.get()
    worker.join()
    details = {"numba's own imports and the compiled code, MB": loading}
    return Result("memory of a run above imports, N = 5", running, MEMORY, "MB", details)


def memory_of_a_run(queue: Any) -> None:
    """MB that loading the compiled code takes, with what numba imports for it, and a run then."""
    from lrscale.theory.observables import measure

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    imported = peak()
    engine(config(2)).advance(1)
    loaded = peak()
    descent = engine(config(5))
    descent.advance(1000)
    measure(descent.problem, descent.weights, True)
    queue.put((loaded - imported, peak() - loaded))


def cores() -> Result:
    """Two runs side by side, in runs of one alone."""
    alone = min(side_by_side(1) for _ in range(3))
    together = min(side_by_side(2) for _ in range(3))
    details = {"one run, s": alone, "two at once, s": together}
    return Result("two runs on two cores", 2 * alone / together, CORES, "×", details, True)


def side_by_side(count: int) -> float:
    """Seconds until ``count`` processes, started together, have each taken 40,000 steps."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(count), context.SimpleQueue()
    workers = [context.Process(target=forty_thousand, args=(barrier, queue)) for _ in range(count)]
    for worker in workers:
        worker.start()
    seconds = [queue.get() for _ in workers]
    for worker in workers:
        worker.join()
    return float(max(seconds))


def forty_thousand(barrier: Any, queue: Any) -> None:
    descent = engine(config(3))
    descent.advance(1000)
    barrier.wait()
    started = time.perf_counter()
    descent.advance(40_000)
    queue.put(time.perf_counter() - started)


if __name__ == "__main__":
    main()
