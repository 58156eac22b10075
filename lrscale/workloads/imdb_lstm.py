"""An LSTM on IMDB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lrscale.registry import workloads
from lrscale.workloads.sentiment import Sentiment


@workloads.register("imdb_lstm")
class ImdbLSTM(Sentiment):
    """One bidirectional layer of 64 units on the last 256 tokens of each review."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 3,
        "batch_size": 64,
        "optimizer": {"name": "adamw", "lr": 0.003, "weight_decay": 0.01},
        "schedule": {"name": "cosine", "warmup": 0.1},
        "model": {"name": "lstm"},
        "data": {"name": "imdb"},
        "grad_clip": 1.0,
        "eval_batch_size": 250,
    }
    target: ClassVar[Mapping[str, float]] = {"val_accuracy": 0.85}
    budget: ClassVar[Mapping[str, float]] = {"epochs": 3, "minutes": 15}
