from __future__ import annotations

from pathlib import Path

import pytest

from launch.wandb_login import login_problem

NETRC = "machine {} login user password planted-key\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    return tmp_path


def test_nobody_is_logged_in_to_begin_with() -> None:
    assert login_problem() == "nobody is logged in to api.wandb.ai"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WANDB_API_KEY", "planted-key"),
        ("WANDB_MODE", "offline"),
        ("WANDB_MODE", "disabled"),
        ("WANDB_IDENTITY_TOKEN_FILE", "/some/token"),
    ],
)
def test_the_environment_will_do(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert login_problem() is None


def test_so_will_the_netrc_file_that_wandb_login_writes(home: Path) -> None:
    (home / ".netrc").write_text(NETRC.format("api.wandb.ai"))
    assert login_problem() is None


def test_the_login_must_be_for_the_server_in_use(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "keys").write_text(NETRC.format("api.wandb.ai"))
    monkeypatch.setenv("NETRC", str(home / "keys"))
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8080/")
    assert login_problem() == "nobody is logged in to wandb.example.org"
    (home / "keys").write_text(NETRC.format("wandb.example.org"))
    assert login_problem() is None


def test_wandbs_settings_file_is_heeded(home: Path) -> None:
    settings = home / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nbase_url = https://local.example.org\n")
    assert login_problem() == "nobody is logged in to local.example.org"
    settings.write_text("[default]\nmode = offline\n")
    assert login_problem() is None


@pytest.mark.parametrize("text", ["machine api.wandb.ai bogus", "\x00\xff nonsense"])
def test_a_damaged_file_is_named_without_its_content(home: Path, text: str) -> None:
    (home / ".netrc").write_bytes(f"{text} planted-key".encode("latin-1"))
    problem = login_problem()
    assert problem
    assert ".netrc" in problem
    assert "planted-key" not in problem
