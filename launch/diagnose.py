"""Why a run failed: one cause, the line that decides it, and what to try. Pure rules over texts.

What a run recorded itself comes first, what the logs of its ranks say next, then how Slurm says
that its job ended. Of several ranks all but one usually fail because one did, with whatever their
connection says; so errors of communication count only where nothing else is found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from launch.accounting import BAD_ENDS, JobEnd

LINE_WIDTH = 300  # characters of a decisive line that are kept


@dataclass(frozen=True)
class Evidence:
    """What is known of a run that did not end well.

    Attributes:
        state: of the run: failed, diverged, timeout, lost, …
        cause: what the run recorded; may be empty.
        step: the last on record.
        has_checkpoint: whether there is one to resume from.
        logs: the end of each rank's log, rank 0 first, of the last attempt.
        job: how its job ended; None where accounting does not say.
        shared: whether other runs were in that job, whose doing its end may be.
    """

    state: str
    cause: str = ""
    step: int = 0
    has_checkpoint: bool = False
    logs: Sequence[str] = ()
    job: JobEnd | None = None
    shared: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """Attributes:
    kind: such as ``CUDA OOM``; equal for runs that failed alike.
    line: what decides it, from a log, the run's record or the accounting.
    advice: what to try.
    rank: whose log the line is from; None for none.
    """

    kind: str
    line: str
    advice: str
    rank: int | None = None


@dataclass(frozen=True)
class Rule:
    """A kind of failure and the texts that tell it. The first that matches counts."""

    kind: str
    pattern: re.Pattern[str]
    advice: str


CUDA_OOM = "CUDA OOM"
HOST_OOM = "host OOM"
NAN = "NaN"
TIME_OUT = "time-out before the first checkpoint"
NODE_FAILURE = "node failure"
COMMUNICATION = "NCCL/gloo"
UNKNOWN = "unknown"

_HOST_OOM_ADVICE = "more resources.mem (or mem_per_gpu), fewer data.workers or runs_per_task"
_TIME_ADVICE = "a longer resources.time, or a shorter checkpoint_minutes"
_LOG_ADVICE = "python launch/logs.py RUN"
_NODE_ADVICE = "the same submit command; leave the node out with sbatch's exclude in a profile"

RULES = (
    Rule(
        CUDA_OOM,
        re.compile(
            r"(CUDA|HIP) out of memory|OutOfMemoryError|CUDA error: out of memory"
            r"|cudaErrorMemoryAllocation|C[UA]*BLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
        ),
        "a smaller batch_size with accumulation, precision: bf16, per_gpu: 1, or a larger GPU",
    ),
    Rule(
        HOST_OOM,
        re.compile(
            r"MemoryError|[Oo]ut[ -]of[ -][Mm]emory|oom[-_ ]kill|(?<!perhaps )for want of memory"
            r"|an(no|')t allocate memory|not enough memory: you tried to allocate|std::bad_alloc"
            r"|killed by signal: Killed|[Ee]xceeded (job )?memory limit"
        ),
        _HOST_OOM_ADVICE,
    ),
    Rule(
        "quota",
        re.compile(r"[Qq]uota exceeded|\[Errno 122\]"),
        "room within it (quota -s shows it, launch/clean.py makes some), or --runs DIR elsewhere",
    ),
    Rule(
        "disk full",
        re.compile(r"No space left on device|\[Errno 28\]|File too large"),
        "room on the disk, or another store with --runs DIR",
    ),
    Rule(
        "import error",
        re.compile(
            r"ModuleNotFoundError|ImportError|cannot open shared object file|undefined symbol"
            r"|version `\S+' not found|command not found|the interpreter .* is not visible"
        ),
        "the environment of the nodes: the profile's preamble and python (slurm/default.yaml)",
    ),
    Rule(
        "data missing",
        re.compile(
            r"FileNotFoundError|NotADirectoryError|No such file or directory|[Dd]ataset not found"
            r"|UserError: .*(not found|cannot be read|has changed since|has fingerprint|damaged)"
            r"|is not visible from this node"
        ),
        "data.root as the node sees it, or data.download=true; --dry-run checks it from here",
    ),
    Rule(
        "GPU not usable",
        re.compile(
            r"CUDA error|CUDA driver|no CUDA-capable device|GPUs were allotted|uncorrectable ECC"
            r"|[Nn]o CUDA GPUs are available|CUDNN_STATUS|cuDNN error"
        ),
        "nvidia-smi on the node; leave the node out with sbatch's exclude in a profile",
    ),
    Rule(
        NAN,
        re.compile(r"loss not finite|[Ll]oss is (nan|inf)"),
        "a lower optimizer.lr, schedule.warmup, grad_clip, or precision: no",
    ),
    Rule(
        TIME_OUT,
        re.compile(r"DUE TO TIME LIMIT"),
        _TIME_ADVICE,
    ),
    Rule(NODE_FAILURE, re.compile(r"DUE TO NODE FAILURE|Node failure on"), _NODE_ADVICE),
)
_COMMUNICATION = Rule(
    COMMUNICATION,
    re.compile(
        r"NCCL|nccl\w+Error|[Gg]loo|Dist(Backend|Network|Store)Error|ProcessGroup|TCPStore"
        r"|Connection (closed|reset) by peer|Watchdog caught|[Aa]ddress already in use|EADDRINUSE"
    ),
    "the other ranks' logs and the network; NCCL_DEBUG=INFO in the profile's preamble says more",
)
_BY_JOB_STATE = {
    "OUT_OF_MEMORY": (HOST_OOM, _HOST_OOM_ADVICE),
    "NODE_FAIL": (NODE_FAILURE, _NODE_ADVICE),
    "BOOT_FAIL": (NODE_FAILURE, _NODE_ADVICE),
    "TIMEOUT": (TIME_OUT, _TIME_ADVICE),
    "DEADLINE": (TIME_OUT, _TIME_ADVICE),
}
# The last line of a traceback: ``package.SomeError: what``.
_EXCEPTION = re.compile(r"((?:\w+\.)*\w*(?:Error|Exception|Interrupt))\b")
_DEATH = re.compile(r"killed by SIG\w+|ended with exit code \d+|Segmentation fault|Bus error")


def diagnose(evidence: Evidence) -> Diagnosis:
    """The one cause of a run's failure."""
    if evidence.shared and evidence.cause and not evidence.cause.startswith("killed by"):
        # One that was killed did not see by whom; any other has said what it was.
        evidence = replace(evidence, job=None)
    if evidence.state == "diverged":
        return _of_rule(_rule(NAN), evidence.cause or f"loss not finite at step {evidence.step}")
    own = _own_words(evidence)
    if own is not None:
        return own
    said = _said_in_logs(evidence.logs, RULES)
    if said is not None:
        return said
    if evidence.job is not None and evidence.job.state in _BY_JOB_STATE:
        kind, advice = _BY_JOB_STATE[evidence.job.state]
        return _timed(Diagnosis(kind, _account(evidence.job), advice), evidence)
    if evidence.state == "timeout" and not evidence.has_checkpoint:
        return Diagnosis(
            TIME_OUT, f"warned of its time limit at step {evidence.step}", _TIME_ADVICE
        )
    if _COMMUNICATION.pattern.search(evidence.cause):
        return _of_rule(_COMMUNICATION, evidence.cause)
    return _said_in_logs(evidence.logs, [_COMMUNICATION]) or _other(evidence)


def failing_rank(logs: Sequence[str]) -> int | None:
    """The rank whose log tells why the others failed too; None when none says anything."""
    said = _said_in_logs(logs, RULES) or _exception(logs) or _said_in_logs(logs, [_COMMUNICATION])
    return said.rank if said else None


def _own_words(evidence: Evidence) -> Diagnosis | None:
    for rule in RULES:
        if rule.pattern.search(evidence.cause):
            return _timed(_of_rule(rule, evidence.cause), evidence)
    return None


def _said_in_logs(logs: Sequence[str], rules: Iterable[Rule]) -> Diagnosis | None:
    for rule in rules:
        for rank, text in enumerate(logs):
            line = _line(rule.pattern, text)
            if line:
                return _of_rule(rule, line, rank)
    return None


def _line(pattern: re.Pattern[str], text: str) -> str:
    """The first line that matches and is not a traceback's quotation of source; empty for none."""
    if not pattern.search(text):
        return ""
    lines = (line for line in text.splitlines() if pattern.search(line))
    return next((line.strip() for line in lines if not line.startswith("    ")), "")


def _timed(found: Diagnosis, evidence: Evidence) -> Diagnosis:
    """A time-out is another matter where there is a checkpoint: the run can just go on."""
    if found.kind != TIME_OUT or not evidence.has_checkpoint:
        return found
    return Diagnosis("time-out", found.line, "the same submit command goes on from its checkpoint")


def _other(evidence: Evidence) -> Diagnosis:
    """What no rule knows: the exception, a signal, the exit code."""
    raised = _EXCEPTION.match(evidence.cause)
    if raised:
        return Diagnosis(raised[1].rpartition(".")[2], evidence.cause, _LOG_ADVICE)
    found = _exception(evidence.logs)
    if found:
        return found
    died = _DEATH.search(evidence.cause)
    if died:
        return Diagnosis(died[0], evidence.cause, _LOG_ADVICE)
    if evidence.job is not None and evidence.job.state in BAD_ENDS:
        return Diagnosis(evidence.job.state, _account(evidence.job), _LOG_ADVICE)
    if evidence.cause:
        return Diagnosis("other", evidence.cause, _LOG_ADVICE)
    last = [line.strip() for text in evidence.logs for line in text.splitlines() if line.strip()]
    return Diagnosis(UNKNOWN, last[-1][:LINE_WIDTH] if last else "it left no word", _LOG_ADVICE)


def _exception(logs: Sequence[str]) -> Diagnosis | None:
    """The last exception that a rank names, one of communication only if there is no other."""
    found: list[Diagnosis] = []
    for rank, text in enumerate(logs):
        named = [line for line in text.splitlines() if _EXCEPTION.match(line)]
        if named:
            match = _EXCEPTION.match(named[-1])
            assert match
            kind = match[1].rpartition(".")[2]
            found.append(Diagnosis(kind, named[-1][:LINE_WIDTH], _LOG_ADVICE, rank))
    own = [one for one in found if not _COMMUNICATION.pattern.search(one.line)]
    return next(iter(own or found), None)


def _of_rule(rule: Rule, line: str, rank: int | None = None) -> Diagnosis:
    return Diagnosis(rule.kind, line[:LINE_WIDTH], rule.advice, rank)


def _rule(kind: str) -> Rule:
    return next(rule for rule in RULES if rule.kind == kind)


def _account(job: JobEnd) -> str:
    where = f" on {job.nodes}" if job.nodes else ""
    killed = f", killed by signal {job.signal}" if job.signal else ""
    return f"sacct: {job.state}{where}, exit code {job.exit_code}{killed}"
