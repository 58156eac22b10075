"""Whether Weights & Biases would let a run log in; found without importing wandb (0.3 s)."""

from __future__ import annotations

import configparser
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

API = "https://api.wandb.ai"
OFFLINE = ("offline", "dryrun", "disabled")


def login_problem() -> str | None:
    """Why ``track: wandb`` would fail on the nodes, or None. No key is ever part of the answer.

    As wandb itself does, this looks at WANDB_MODE, WANDB_API_KEY, the settings file and the
    netrc file that ``wandb login`` writes.
    """
    if _setting("mode") in OFFLINE:
        return None
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return None
    host = urlsplit(_setting("base_url") or API).hostname or ""
    for path in _netrc_files():
        try:
            login = netrc.netrc(str(path)).authenticators(host)
        except FileNotFoundError:
            continue
        except (netrc.NetrcParseError, OSError, UnicodeDecodeError):
            return f"{path} cannot be read, so nobody is logged in to {host}"
        if login and login[2]:
            return None
    return f"nobody is logged in to {host}"


def _setting(name: str) -> str | None:
    """A setting of wandb's: the environment comes before the settings file."""
    value = os.environ.get(f"WANDB_{name.upper()}")
    if value:
        return value
    folder = os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(Path(folder) / "settings")
    except (configparser.Error, UnicodeDecodeError):
        return None
    return parser.get("default", name, fallback=None)


def _netrc_files() -> list[Path]:
    if os.environ.get("NETRC"):
        return [Path(os.environ["NETRC"])]
    return [Path.home() / ".netrc", Path.home() / "_netrc"]
