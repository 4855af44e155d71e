"""The right of a model's own Python code to run: the command line gives it, no file has it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from depthtui import analyze, cli
from depthtui.data.run_settings import ModelSpec
from depthtui.data.trust import TrustedModels
from depthtui.engine.factory import Storage
from depthtui.errors import DepthError, NeedsCode
from depthtui.sweep.on_gpus import GpuEngine
from tests.builders.own_code import OwnCode, model_with_code
from tests.tiny_models import tiny_folder

Output = pytest.CaptureFixture[str]

ONE = ("--prompt", "one two three")

COMMANDS = {
    "run": ("run", "MODEL", *ONE),
    "generate": ("generate", "MODEL", *ONE, "--max-new-tokens", "2"),
    "prune": ("prune", "MODEL", "--drop", "1", "--out", "OUT"),
    "lens fit": ("lens", "fit", "MODEL", "--kind", "jacobian", "--examples", "1"),
    "sweep": ("sweep", "--model", "MODEL", "--task", "commonsense", "--examples", "1"),
}


@pytest.fixture
def own(home: Path, monkeypatch: pytest.MonkeyPatch) -> OwnCode:
    return model_with_code(home, monkeypatch)


class TestCommandLine:
    @pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
    def test_code_runs_where_the_flag_says_so_alone(
        self, command: tuple[str, ...], own: OwnCode, home: Path, capsys: Output
    ) -> None:
        places = {"MODEL": str(own.folder), "OUT": str(home / "pruned")}
        arguments = [places.get(word, word) for word in command]
        assert cli.main(arguments) == 1
        assert "--trust-remote-code" in capsys.readouterr().err
        assert not own.has_run
        cli.main([*arguments, "--trust-remote-code"])
        assert own.has_run

    def test_a_plan_cannot_say_so(self, own: OwnCode, home: Path, capsys: Output) -> None:
        plan = home / "plan.toml"
        plan.write_text(
            "examples = 1\n[[task]]\nname = 'commonsense'\n"
            f"[[model]]\nname = '{own.folder}'\ntrust_remote_code = true\n"
        )
        assert cli.main(["sweep", str(plan), "--trust-remote-code"]) == 2
        assert "there is no key trust_remote_code" in capsys.readouterr().err
        assert not own.has_run

    def test_a_settings_file_cannot_say_so(self, own: OwnCode, home: Path, capsys: Output) -> None:
        (home / "settings.toml").write_text("trust_remote_code = true\n")
        assert cli.main(["run", str(own.folder), *ONE]) == 1
        assert "doesn't know: trust_remote_code" in capsys.readouterr().err
        assert not own.has_run

    def test_a_sweep_cannot_say_so(self, home: Path, capsys: Output) -> None:
        part, whole = home / "part", home / "whole"
        model, rest = tiny_folder(home), COMMANDS["sweep"][3:]
        assert cli.main(["sweep", "--model", str(model), *rest, "--out", str(part)]) == 0
        manifest = part / "sweep.json"
        assert "trust_remote_code" not in manifest.read_text()
        body = json.loads(manifest.read_text())
        body["plan"]["models"][0]["trust_remote_code"] = True
        manifest.write_text(json.dumps(body))
        capsys.readouterr()
        assert cli.main(["sweep", "--merge", str(part), "--out", str(whole)]) == 1
        assert "has an unknown key, 'trust_remote_code'" in capsys.readouterr().err


def test_analyze_lets_code_run_where_it_is_told_so_alone(own: OwnCode) -> None:
    with pytest.raises(NeedsCode):
        analyze(own.folder, "one", progress=False)
    assert not own.has_run
    runs = analyze(own.folder, "one", progress=False, trust_remote_code=True)
    assert runs[0].model.architecture == "OwnForCausalLM"
    assert own.has_run
    with pytest.raises(DepthError, match="True or False"):
        analyze(own.folder, "one", trust_remote_code="yes")


def test_a_process_of_a_gpu_trusts_as_the_driver_does(own: OwnCode, home: Path) -> None:
    spec, untrusting = ModelSpec(str(own.folder)), GpuEngine(Storage(home, home / "models"), False)
    with pytest.raises(NeedsCode):
        untrusting(print, print).load(spec)
    assert not own.has_run
    replace(untrusting, trusts_code=True)(print, print).load(spec)
    assert own.has_run


class TestTrustedModels:
    def test_one_model_is_not_another(self) -> None:
        trusted = TrustedModels([ModelSpec("org/model")])
        assert ModelSpec("org/model", dtype="float32") in trusted
        assert ModelSpec("org/model", revision="other") not in trusted
        assert ModelSpec("org/model2") not in trusted
        assert ModelSpec("org/model2") in TrustedModels(every=True)
        assert ModelSpec("org/model") not in TrustedModels()

    def test_a_folder_is_known_by_its_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("read", "other"):
            (tmp_path / name).mkdir()
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "read")
        trusted = TrustedModels([ModelSpec(str(link))])
        monkeypatch.chdir(tmp_path)
        assert ModelSpec("read") in trusted
        link.unlink()
        link.symlink_to(tmp_path / "other")
        assert ModelSpec(str(link)) not in trusted

    @pytest.mark.parametrize("name", ["", "a\0b", "~a\0b", "~\ud800", "~nobody/x", "x" * 9999])
    def test_a_name_that_no_file_can_have_is_one_all_the_same(self, name: str) -> None:
        trusted = TrustedModels([ModelSpec(name)])
        assert ModelSpec(name) in trusted
        assert ModelSpec("other") not in trusted
