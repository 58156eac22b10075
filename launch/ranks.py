"""Where the ranks of a job that Slurm starts meet, one srun task each."""

from __future__ import annotations

import os
import random

from lrscale.run_dir import RunDir

PORTS = range(20_000, 32_768)  # above the usual services', below what Linux gives to connections


def this_start(run_dir: RunDir, job: str, requeues: int) -> str:
    """Of a run by a job, as no other run, job, cluster or start of the job has it."""
    return f"{run_dir.path} {job} {requeues}"


def join_ranks(start: str) -> None:
    """Export what torch.distributed needs, where there is more than one."""
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SUBMITIT_EXECUTOR" in os.environ:
        from submitit.helpers import TorchDistributedEnvironment

        # Its own port is the same for every start of a job: ranks of the one before, that live on
        # where slurmd has died, would be joined by new ones, as would those of a job of this
        # number of another cluster on the same host.
        os.environ["MASTER_PORT"] = str(master_port(start))
        # Its default narrows CUDA_VISIBLE_DEVICES by local rank, over Slurm's own mask.
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


def master_port(start: str) -> int:
    """Where rank 0 is met: drawn by ``start``, the same for all ranks.

    Where it is taken, the attempt is killed, and the next start has another; where it is by ranks
    of another run, the trainer notices (``ForeignRanks``).
    """
    return random.Random(os.fsencode(start)).choice(PORTS)
