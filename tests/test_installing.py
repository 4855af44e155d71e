"""How to install something more, by what depthtui was installed with."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from depthtui import installing
from depthtui.installing import install_extra, install_package


def installed_from(origin: str | None) -> Mock:
    """The metadata of a package with this `direct_url.json`."""
    return Mock(read_text=lambda name: origin)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """depthtui lies in no checkout, and came from an index."""
    monkeypatch.setattr(installing, "_ROOT", tmp_path)
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: installed_from(None))
    return tmp_path


@pytest.mark.parametrize(
    ("prefix", "extra", "package"),
    [
        ("venv", "pip install 'depthtui[wandb]'", "pip install --upgrade 'torch>=2'"),
        (
            "pipx/venvs/depthtui",
            "pipx install --force 'depthtui[wandb]'",
            "pipx runpip depthtui install --upgrade 'torch>=2'",
        ),
        (
            "uv/tools/depthtui",
            "uv tool install --force 'depthtui[wandb]'",
            "uv tool install --force depthtui --with 'torch>=2'",
        ),
        ("uv-venv", "uv pip install 'depthtui[wandb]'", "uv pip install --upgrade 'torch>=2'"),
    ],
)
def test_each_installer_has_its_command(
    prefix: str, extra: str, package: str, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = outside / prefix
    folder.mkdir(parents=True)
    uv = "uv = 0.9.1\n" if prefix.startswith("uv-") else ""
    (folder / "pyvenv.cfg").write_text(f"home = /usr/bin\n{uv}version = 3.11\n")
    monkeypatch.setattr(sys, "prefix", str(folder))
    assert install_extra("wandb") == extra
    assert install_package("torch>=2", "--upgrade") == package


@pytest.mark.parametrize("where", ["uv/tools/depthtui", "pipx/venvs/depthtui"])
def test_the_folder_that_it_was_installed_from_is_named(
    where: str, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = '{"url": "file:///home/ann/my%20code/depthtui", "dir_info": {}}'
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: installed_from(origin))
    monkeypatch.setattr(sys, "prefix", str(outside / where))
    assert install_extra("wandb").endswith("install --force '/home/ann/my code/depthtui[wandb]'")
    if where.startswith("uv"):
        expected = "uv tool install --force '/home/ann/my code/depthtui' --with torch"
        assert install_package("torch") == expected


def test_a_checkout_is_named(outside: Path) -> None:
    (outside / "pyproject.toml").write_text("")
    assert install_extra("wandb").endswith(f"pip install -e '{outside}[wandb]'")


def test_what_a_shell_takes_as_it_is_has_no_quotes() -> None:
    assert install_package("torch").endswith(" torch")
    assert install_package("tiny==1.0").endswith(" tiny==1.0")
