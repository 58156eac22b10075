"""LSTM and Transformer: what a text is batched with makes no difference; oracles of torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrscale.config import ConfigError, decode
from lrscale.models._encoder import Encoder, sinusoids
from lrscale.models._recurrent import Recurrent
from lrscale.models._text import TokenDropout, pooled
from lrscale.models.lstm import LSTM
from lrscale.models.transformer import Transformer

VOCABULARY, LENGTH = 40, 16
SMALL: list[Any] = [
    LSTM(embedding=6, hidden=5),
    LSTM(embedding=6, hidden=5, layers=2, bidirectional=False),
    LSTM(embedding=6, hidden=5, layers=2),
    Transformer(width=8, heads=2, hidden=12),
    Transformer(width=8, heads=2, hidden=12, positions="sinusoidal"),
]


def built(config: Any) -> nn.Module:
    """In float64, with nothing left at its initial zero or one."""
    torch.manual_seed(0)
    model: nn.Module = config.build((VOCABULARY, LENGTH), 2).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def texts() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randint(1, VOCABULARY, (n,)) for n in (1, 5, LENGTH, 9)]


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_a_text_is_judged_the_same_whatever_it_is_batched_with(config: Any) -> None:
    model = built(config)
    batch = nn.utils.rnn.pad_sequence(texts(), batch_first=True)
    together = model(batch.int())
    alone = torch.cat([model(text[None].int()) for text in texts()])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    assert len(together.unique(dim=0)) == len(batch)


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_order_matters(config: Any) -> None:
    model = built(config)
    (text,) = [text for text in texts() if len(text) == 9]
    assert not torch.allclose(model(text[None]), model(text.flip(0)[None]))


def test_the_backward_stack_reads_as_torchs_bidirectional_layer_does() -> None:
    model = built(LSTM(embedding=6, hidden=5))
    assert isinstance(model, Recurrent)
    reference = nn.LSTM(6, 5, batch_first=True, bidirectional=True).double()
    for stack, suffix in zip(model.stacks, ("", "_reverse"), strict=True):
        for name, parameter in stack.get_submodule("layers.0").named_parameters():
            reference.get_parameter(name + suffix).data.copy_(parameter.data)
    for text in texts():
        states, _ = reference(model.embedding(text[None]))
        ahead, back = states.chunk(2, dim=2)
        summary = [part(half, dim=1) for half in (ahead, back) for part in (torch.mean, torch.amax)]
        torch.testing.assert_close(model(text[None]), model.output(torch.cat(summary, dim=1)))


def test_a_block_is_torchs_encoder_layer() -> None:
    model = built(Transformer(width=8, heads=2, hidden=12, layers=1))
    assert isinstance(model, Encoder)
    block = model.blocks[0]
    reference = nn.TransformerEncoderLayer(
        8, 2, 12, activation="gelu", batch_first=True, norm_first=True
    )
    reference = reference.double().eval()
    parts = {
        "self_attn.in_proj_": "queries_keys_values.",
        "self_attn.out_proj.": "mixed.",
        "linear1.": "perceptron.0.",
        "linear2.": "perceptron.2.",
        "norm1.": "attention_norm.",
        "norm2.": "perceptron_norm.",
    }
    for theirs, ours in parts.items():
        for kind in ("weight", "bias"):
            reference.get_parameter(theirs + kind).data.copy_(block.get_parameter(ours + kind).data)
    batch = nn.utils.rnn.pad_sequence(texts(), batch_first=True)
    inside, states = batch != 0, torch.randn(4, LENGTH, 8, dtype=torch.float64)
    expected = reference(states, src_key_padding_mask=~inside)
    found = block(states, inside[:, None, None, :])
    torch.testing.assert_close(found[inside], expected[inside])


def test_sinusoids_are_those_of_the_paper() -> None:
    found = sinusoids(7, 6)
    for p in range(7):
        for i in range(3):
            angle = torch.tensor(p / 10_000 ** (2 * i / 6))
            torch.testing.assert_close(found[p, 2 * i], angle.sin())
            torch.testing.assert_close(found[p, 2 * i + 1], angle.cos())


def test_pooling_sees_no_padding() -> None:
    states = torch.tensor([[[1.0, -3.0], [3.0, -1.0], [50.0, 50.0]]])
    inside = torch.tensor([[True, True, False]])
    assert pooled(states, inside).tolist() == [[2, -2, 3, -1]]


def test_token_dropout_spares_padding_and_evaluation() -> None:
    torch.manual_seed(0)
    tokens = torch.arange(2, 40_002).view(4, -1)
    tokens[:, 5_000:] = 0
    drop = TokenDropout(0.25)
    dropped = drop(tokens)
    assert torch.equal(dropped == 0, tokens == 0)
    changed = dropped != tokens
    assert (dropped[changed] == 1).all()
    assert changed[:, :5_000].float().mean() == pytest.approx(0.25, abs=0.02)
    torch.manual_seed(0)
    assert torch.equal(TokenDropout(0.25)(tokens), dropped)
    assert torch.equal(drop.eval()(tokens), tokens)


def test_forget_gates_start_open() -> None:
    model = LSTM(embedding=6, hidden=5).build((VOCABULARY, LENGTH), 2)
    layer = model.get_submodule("stacks.0.layers.0")
    biases = layer.get_parameter("bias_ih_l0") + layer.get_parameter("bias_hh_l0")
    assert biases.chunk(4)[1].tolist() == [1] * 5
    assert biases.sum() == 5


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"heads": 3}, "width 64 cannot be divided into 3 heads"),
        ({"width": 5, "heads": 1, "positions": "sinusoidal"}, "sinusoids come in pairs"),
    ],
)
def test_widths_that_cannot_be(model: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        decode({"workload": "imdb_transformer", "model": model})
