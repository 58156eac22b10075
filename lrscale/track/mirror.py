"""One run on its way to W&B: opened, sent what is not there yet, closed as what it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrscale.run_dir import RunDir
from lrscale.run_state import FINISHED, State
from lrscale.track.rows import Row, rows
from lrscale.track.server import Held, Server

CLOSE_SECONDS = 120.0  # for what is to be sent to arrive, when a run is closed
OPEN_SECONDS = 60.0
RETRIES = 5  # of one request
SEND_SECONDS = 5.0  # whole ones, between two requests with rows of an open run


class Differs(Exception):
    """The server holds something else than the run's first rows."""


class Mirror:
    """A run that is open on the server. Sends rows in their order.

    Args:
        held: what the server holds of it, checked by ``check_held``.
        wandb_id: the run's id there.
        tags: of the run, those it has among them.
        folder: for the client's files.
        watched: a process whose use of the machine W&B is to show; none when None.

    Attributes:
        sent: rows that the server holds or the client has been given.

    Raises:
        Exception: whatever the client raises.
    """

    def __init__(
        self,
        server: Server,
        run_id: str,
        record: Mapping[str, Any],
        held: Held,
        wandb_id: str,
        tags: Sequence[str],
        folder: Path,
        watched: int | None = None,
    ) -> None:
        import wandb

        arm = record.get("arm") or ""
        self._run: Any = wandb.init(
            entity=server.entity,
            project=server.project,
            id=wandb_id,
            name=f"{arm} {run_id[:8]}".strip(),
            resume="allow",
            reinit="create_new",
            group=record.get("sweep"),
            job_type=arm or None,
            tags=list(tags),
            config=dict(record["config"]),
            dir=str(folder),
            settings=client_settings(watched),
        )
        self._run.define_metric("*", step_metric="global_step")
        self.sent = held.rows
        if self._run.starting_step != held.rows:
            self.close(None)
            raise Differs(
                f"it held {held.rows} rows and now {self._run.starting_step}: "
                "something else is writing to it"
            )

    def send(self, every: Sequence[Row]) -> int:
        """Send what comes after the rows sent; how many that were."""
        new = every[self.sent :]
        for row in new:
            self._run.log(row)
        self.sent += len(new)
        return len(new)

    def close(self, state: State | None, summary: Mapping[str, Any] | None = None) -> None:
        """Wait until everything is sent, two minutes at most, and say what state the run is in.

        W&B shows a run that is to be carried on as preempted. Raises TimeoutError.
        """
        name = state.state if state else ""
        if name:
            self._run.summary.update({"state": name, **_final(summary or {})})
        if name in FINISHED:
            self._run.finish(0)
            return
        if name != "failed":
            self._run.mark_preempting()
        self._run.finish(1)


def rows_of(run_dir: RunDir, config: Mapping[str, Any]) -> tuple[list[Row], State | None]:
    """The rows of a run as it is now, and its state, which is not newer than the rows."""
    state = run_dir.state()
    if state is None:
        return [], None
    ended = state.state in FINISHED
    return rows(run_dir.metrics(), config, state.total_steps, ended), state


def check_held(held: Held, every: Sequence[Row], steps: Callable[[], list[int]]) -> Held:
    """What the server holds, once it is sure that these are the first of ``every`` row.

    Where the count and the last step do not agree, as after a cut, all ``steps`` are read back.
    A run that was cut back to a checkpoint may have fewer rows for now than the server.

    Raises:
        Differs: they are not.
    """
    known = [row["global_step"] for row in every]
    if held.rows == 0 and held.last is None:
        return held
    if held.rows <= len(known) and held.last == known[held.rows - 1]:
        return held
    there = steps()
    shared = min(len(there), len(known))
    if there[:shared] != known[:shared]:
        raise Differs(f"it holds {len(there)} rows that are not the first of this run")
    return Held(len(there), there[-1] if there else None, held.tags)


def client_settings(watched: int | None) -> Any:
    """Everything off that the store knows better or that would tell of the machine.

    Args:
        watched: a process whose use of the machine W&B is to show; none when None.
    """
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        program="lrscale",  # not the path of the script
        disable_git=True,
        disable_code=True,
        save_code=False,
        init_timeout=OPEN_SECONDS,
        finish_timeout=CLOSE_SECONDS,
        finish_timeout_raises=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=watched is None,
        x_file_stream_transmit_interval=SEND_SECONDS,
        x_graphql_retry_max=RETRIES,
        x_save_requirements=False,
        x_skip_transaction_log=True,
        x_stats_pid=watched or os.getpid(),
    )


def _final(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Of the run's summary what one would sort by; metrics under their own names."""
    numbers = {k: summary.get(k) for k in ("parameters", "peak_memory_bytes", "attempts")}
    numbers |= {f"total_{k}_seconds": v for k, v in (summary.get("seconds") or {}).items()}
    numbers |= summary.get("metrics") or {}
    return {k: v for k, v in numbers.items() if isinstance(v, (int, float))}
