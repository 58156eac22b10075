"""What the SLURM controller says of itself: whether it answers, and how much it takes at once.

Every question has a time limit, and what is not to be learned is None, never a guess.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess

from lrscale.errors import UserError

# SLURM's clients give a silent controller up after 10 s (MessageTimeout) by themselves, but look
# for a missing slurm.conf for a minute.
TIMEOUT_SECONDS = 15


def controller_answers() -> bool:
    """Whether a controller, the primary or a backup, answers from this machine."""
    return re.search(r" is UP$", _output("scontrol", "ping"), re.MULTILINE) is not None


def require_controller() -> None:
    """Refuse to go on where a job could not be queued.

    Raises:
        UserError: naming ``--backend local``.
    """
    if shutil.which("sbatch") is None:
        raise UserError("sbatch is not on PATH: SLURM is not installed here; use --backend local")
    if not controller_answers():
        conf = os.environ.get("SLURM_CONF")
        where = f" (SLURM_CONF={conf})" if conf else ""
        raise UserError(
            f"sbatch is on PATH, but no SLURM controller answers{where}; run this on a login node "
            "of the cluster, or here, on this machine's own cores and GPUs, with --backend local"
        )


def max_array_size() -> int | None:
    """MaxArraySize: elements of an array counted from index 0. None when there is no answer."""
    size = _controller_config().get("MaxArraySize", "")
    return int(size) if size.isdigit() else None


def max_submit_jobs(
    account: str | None = None, partition: str | None = None, qos: str | None = None
) -> int | None:
    """How many jobs, array elements included, this user may have in the queue at once.

    The least of what the user's association with the account and the QOS say, where the
    controller enforces it. None when there is no such limit, or no accounting that answers.

    Args:
        account, partition, qos: as the job will name them; None: the user's defaults.
    """
    config = _controller_config()
    enforced = config.get("AccountingStorageEnforce", "").split(",")
    if "limits" not in enforced and "safe" not in enforced:
        return None
    bounds: list[str] = []
    cluster = config.get("ClusterName", "")
    columns = "DefaultAccount,Account,Partition,DefaultQOS,MaxSubmit,GrpSubmit"
    for default, held, only_in, default_qos, *more in _table(
        "show", "user", _user(), "withassoc", f"cluster={cluster}", f"format={columns}"
    ):
        if held == (account or default) and only_in in ("", partition):
            bounds += more
            qos = qos or default_qos
    columns = "MaxSubmitJobsPerUser,MaxSubmitJobsPerAccount,GrpSubmit"
    for more in _table("show", "qos", qos or "normal", f"format={columns}"):
        bounds += more
    return min((int(bound) for bound in bounds if bound.isdigit()), default=None)


def queued_jobs() -> int:
    """This user's jobs in the queue, each array element counted; 0 when there is no answer."""
    listing = _output("squeue", "--noheader", "--array", "--user", _user(), "--format", "%A")
    return len(listing.splitlines())


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _controller_config() -> dict[str, str]:
    """``scontrol show config`` as a mapping; empty when the controller is silent."""
    lines = _output("scontrol", "show", "config").splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _table(*question: str) -> list[list[str]]:
    lines = _output("sacctmgr", "--noheader", "--parsable2", *question).splitlines()
    return [line.split("|") for line in lines]


def environment() -> dict[str, str]:
    """This process's, less what a person has set to have squeue show fewer jobs or others."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}


def _output(*command: str) -> str:
    """Its standard output; empty when it is not installed, fails to answer in time, or refuses."""
    try:
        done = subprocess.run(
            command,
            env=environment(),
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
