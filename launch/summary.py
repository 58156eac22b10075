"""What ``submit`` tells the person: the plan before, and the outcome after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from launch.backends import local
from launch.claims import state_of
from launch.handover import Plan
from launch.layout import Estimate
from launch.preflight import Checked, Run, label
from launch.quick import described
from launch.sweep import Sweep
from lrscale.run_state import has_ended
from lrscale.store import Store

MAX_ROWS = 50
EXIT_FAILED_RUNS = 1


def plan_table(sweep: Sweep, checked: Checked, plan: Plan, on_slurm: bool) -> Group:
    """Counts, what happens to the runs, where they go and the cost."""
    total = f"{sweep.name}: {_count(len(checked.runs), 'run')}"
    if checked.collapsed:
        total += f" ({_count(checked.collapsed, 'equal one')} collapsed)"
    table = Table(box=None, pad_edge=False, show_header=False)
    counts = Counter((d.action, d.reason) for d in plan.decisions.values())
    for (action, reason), count in counts.most_common(MAX_ROWS):
        table.add_row(f"  {count:>6,}", action, reason)
    lines = [f"  quick: {rule}" for rule in described(sweep.quick)]
    lines += [f"warning: {warning}" for warning in plan.claims.warnings]
    lines += _arrays(sweep, plan) if on_slurm else _on_this_machine(sweep, plan)
    return Group(Text(total), table, *map(Text, lines))


def _arrays(sweep: Sweep, plan: Plan) -> list[str]:
    lines = []
    for array in plan.layout.arrays:
        shape = array.resources
        runs = sum(map(len, array.elements))
        size = f"array of {_count(len(array.elements), 'element')} for {_count(runs, 'run')}"
        asks = [_count(shape.nodes, "node")]
        if shape.gpus_per_node:
            kind = f"{shape.gpu_type} GPU" if shape.gpu_type else "GPU"
            asks.append(_count(shape.gpus_per_node, kind) + " a node")
        asks.append(_count(shape.tasks_per_node, "task") + " a node")
        asks.append(_count(shape.cpus_per_task, "core") + " a task")
        lines.append(f"  {size}, {array.throttle:,} at once: {', '.join(asks)}, {shape.time}")
    if plan.layout.left_over:
        left = len(plan.layout.left_over)
        lines.append(
            f"  {_count(left, 'run')} {'is' if left == 1 else 'are'} over the limit on submitted "
            "jobs: the same command submits them later"
        )
    if plan.layout.arrays:
        source = "from finished runs" if sweep.minutes_per_run is None else "by minutes_per_run"
        lines.append(_cost(plan.cost, source))
    return lines


def _on_this_machine(sweep: Sweep, plan: Plan) -> list[str]:
    """One line per shape of resources: how many at a time, and how long that will take."""
    lines = []
    for array in plan.layout.arrays:
        room = local.room(array.resources, sweep.per_gpu, sweep.parallel)
        ids = [run for element in array.elements for run in element]
        slot, at_once = room[0], min(len(room), len(ids))
        if slot.gpus:
            each = _count(len(slot.gpus.split(",")), "GPU")
        else:
            each = _count(slot.ranks * slot.threads, "core")
        known = [minutes for run in ids if (minutes := plan.minutes[run]) is not None]
        line = f"  on this machine: {_count(len(ids), 'run')}, {at_once:,} at a time, {each} each"
        if known:
            whole = sum(known) / len(known) * len(ids) / at_once
            line += f"; about {_duration(whole)} in all"
        lines.append(line)
    return lines


def _cost(cost: Estimate, source: str) -> str:
    unit = "GPU" if cost.gpu_hours else "core"
    most = cost.gpu_hours if cost.gpu_hours else cost.core_hours
    line = f"  at most {most:,.1f} {unit}-hours (every element its whole time limit)"
    if cost.known:
        expected = cost.expected_gpu_hours if cost.gpu_hours else cost.expected_core_hours
        of = "" if cost.known == cost.runs else f" for {cost.known:,} of {cost.runs:,} runs"
        line += f"; about {expected:,.2f}{of}, {source}"
    return line


def _count(number: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _duration(minutes: float) -> str:
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def run_table(runs: Sequence[Run], plan: Plan) -> Group:
    """The first runs one by one."""
    table = Table(box=None, pad_edge=False)
    for name in ("id", "run", "action"):
        table.add_column(name)
    for run in runs[:MAX_ROWS]:
        table.add_row(run.id[:10], label(run), plan.decisions[run.id].action)
    rest = len(runs) - MAX_ROWS
    return Group(table, Text(f"and {rest:,} more (--json lists all)" if rest > 0 else ""))


def unfinished(store: Store, runs: Sequence[Run]) -> list[Run]:
    """Those of ``runs`` that have not ended, well or badly."""
    states = ((run, state_of(store, run.id)) for run in runs)
    return [run for run, state in states if not has_ended(state)]


def finish(store: Store, sweep: str, runs: Sequence[Run], console: Console) -> int:
    """Failures, then the comparison; the command's exit code."""
    failed = [run for run in runs if (s := state_of(store, run.id)) and s.state == "failed"]
    for run in failed[:MAX_ROWS]:
        state = state_of(store, run.id)
        log = store.run(run.id).log_path
        console.print(f"failed: {label(run)}: {state.cause if state else ''} (log: {log})")
    from launch import report  # with pandas: only now, that planning a sweep starts fast

    report.summarise(store, sweep, console)
    return EXIT_FAILED_RUNS if failed else 0
