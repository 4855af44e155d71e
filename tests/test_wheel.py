"""The distributions are valid; an installed depthtui works outside its checkout and beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.by_hand
def test_distributions_are_valid_and_run_outside_the_checkout(tmp_path: Path) -> None:
    dist, home, outside = tmp_path / "dist", tmp_path / "venv", tmp_path / "outside"
    outside.mkdir()
    names = ("PATH", "HOME", "LANG", "OMP_NUM_THREADS", "HTTPS_PROXY", "PIP_INDEX_URL")
    # Not PYTHONPATH: pip would find a checkout there, and install nothing.
    here = {name: os.environ[name] for name in names if name in os.environ}
    here |= {"DEPTHTUI_CONFIG": str(tmp_path / "settings.toml"), "COLUMNS": "100"}

    def python(environment: Path, *words: str | Path) -> None:
        subprocess.run([environment / "bin" / "python", "-m", *words], env=here, check=True)

    # Of a copy: setuptools leaves its own files beside what it builds, and takes them up again.
    source = tmp_path / "source"
    shutil.copytree(ROOT / "depthtui", source / "depthtui")
    for name in ("pyproject.toml", "README.md"):
        shutil.copyfile(ROOT / name, source / name)
    tools = tmp_path / "tools"
    venv.create(tools, with_pip=True)
    python(tools, "pip", "install", "--quiet", "build", "twine")
    python(tools, "build", "--outdir", dist, source)
    (sdist,), (wheel,) = dist.glob("depthtui-*.tar.gz"), dist.glob("depthtui-*.whl")
    python(tools, "twine", "check", "--strict", sdist, wheel)
    venv.create(home, with_pip=True)
    python(home, "pip", "install", "--no-deps", "--quiet", wheel)
    # What depthtui needs comes from here; of these folders no .pth is read, so that no
    # editable depthtui comes along.
    (site,) = home.glob("lib/python3*/site-packages")
    (site / "present.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    cache = tmp_path / "cache"
    cache.mkdir()
    if (ROOT / "cache" / "models").exists():
        (cache / "models").symlink_to((ROOT / "cache" / "models").resolve())

    def run(*words: str) -> str:
        found = subprocess.run(
            [home / "bin" / words[0], *words[1:]],
            cwd=outside,
            env=here,
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout

    where = run("python", "-c", "import depthtui; print(depthtui.__file__)")
    assert where.startswith(str(site))
    options = ["--task", "grade_school", "--cache-dir", str(cache), "--out", "out"]
    options += ["--metrics", "contributions,logit_lens", "--format", "md,html,json"]
    assert "layers" in run("depthtui", "run", "demo", *options)
    assert (outside / "out" / "summary.html").stat().st_size > 10_000
    assert "grade_school" in run("depthtui", "tasks")
    assert "208: everything is measured" in run("depthtui", "help", "models")


def test_a_checkout_that_is_installed_is_found_beside_itself(tmp_path: Path) -> None:
    """Its folder has the package's name, and nothing to import at its top."""
    source, wheels, site = tmp_path / "depthtui", tmp_path / "wheels", tmp_path / "site"
    build = ROOT / "pyproject.toml", ROOT / "README.md"
    for path in [*build, *ROOT.glob("depthtui/**/__init__.py")]:
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    wheels.mkdir()
    wheel_of = "from setuptools.build_meta import build_editable; build_editable({!r})"
    _python(wheel_of.format(str(wheels)), source)
    (wheel,) = wheels.glob("depthtui-*.whl")
    shutil.unpack_archive(wheel, site, "zip")
    find = "import importlib.util as find, site; site.addsitedir({!r}); "
    find += "print(find.find_spec('depthtui').origin)"
    found = _python(find.format(str(site)), tmp_path, "-S")
    assert found.strip() == str(source / "depthtui" / "__init__.py")


def _python(code: str, where: Path, *options: str) -> str:
    """What a Python of its own prints, run in a folder."""
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, cwd=where, check=True, stdout=subprocess.PIPE, text=True).stdout
