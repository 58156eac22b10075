"""Image files to pixels. Imports torch: only for use where a source is opened."""

from __future__ import annotations

import importlib
import io
import os
import warnings
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor


class Damaged(Exception):
    """A file that cannot be decoded; the message names it."""


def read_image(path: bytes | str) -> Tensor:
    """The pixels of an image file, upright as its EXIF data has it: (3, height, width) bytes.

    torchcodec decodes, faster than PIL, which steps in with the same pixels where
    torchcodec is not there or does not know the format.

    Raises:
        Damaged: missing, truncated, or not an image.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
        return _decode(content)
    except UnidentifiedImageError:  # its own message has an address in it, other in each process
        raise Damaged(f"{os.fsdecode(path)}: no image of a known format") from None
    except Exception as error:  # decoders raise whatever they like, of any number of types
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise Damaged(f"{os.fsdecode(path)}: {reason}") from None


def _decode(content: bytes) -> Tensor:
    decode_image = torchcodec_decoder()
    if decode_image is not None:
        try:
            pixels: Tensor = decode_image(content)
        except (ValueError, RuntimeError):  # PIL has the last word
            return _decode_by_pil(content)
        return pixels if pixels.ndim == 3 else pixels[0]  # the first of an animation
    return _decode_by_pil(content)


def _decode_by_pil(content: bytes) -> Tensor:
    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return torch.from_numpy(np.array(upright)).permute(2, 0, 1)


@cache
def torchcodec_decoder() -> Any:
    """torchcodec's ``decode_image``; None, said once a process, where it cannot be loaded."""
    try:
        return importlib.import_module("torchcodec.decoders").decode_image
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        warnings.warn(
            f"torchcodec cannot be loaded ({reason}): PIL decodes the images instead, to the same "
            "pixels but more slowly; pip install 'lrscale[imagenet]'",
            stacklevel=2,
        )
        return None
