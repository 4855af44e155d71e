"""How a declared option reads values, whoever asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import tomlkit
from click.testing import CliRunner

from depthtui.cli.generate import generate
from depthtui.cli.run import run
from depthtui.cli.sweep import sweep
from depthtui.data.run_settings import Drawing, ModelSpec, RunSettings, SummarySettings, Writing
from depthtui.errors import DepthError
from depthtui.options import Option, WrongValue, options_of
from depthtui.sweep.plan import SweepPlan
from depthtui.sweep.plan_file import read_plan

EVERY = {
    name: option
    for settings in (ModelSpec, RunSettings, SummarySettings, Writing)
    for name, option in options_of(settings).items()
}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("lens_top_k", 0, "a whole number from 1 to 1000"),
        ("lens_top_k", 1.0, "a whole number from 1 to 1000"),
        ("lens_top_k", True, "a whole number from 1 to 1000"),
        ("top_k", -1, "a whole number from 0 to 1000000"),
        ("seed", 2**63, "a whole number of at least 0 that fits in 64 bits"),
        ("kl_threshold", float("nan"), "a number from 0 to 1"),
        ("temperature", float("inf"), "a number of at least 0 that fits in 64 bits"),
        ("tolerance", 0, "a number above 0 and of at most 1"),
        ("riemann_steps", 10**12, "a whole number from 1 to 1000000"),
        ("skip_everywhere", 1, "true or false"),
        ("skip_part", "head", '"layer" or "attention" or "mlp"'),
        ("skip_part", 3, '"layer" or "attention" or "mlp"'),
        ("revision", 3, "text in quotes"),
        ("device", "gpu", "auto, cpu, cuda, cuda:N or mps"),
        ("layers", "9-4", "layers such as 0-5,20 or 0-28/4, or /4 for every fourth one"),
        ("skip_positions", "0", "positions of at least 1, such as 8,20"),
        ("erase_tokens", -1, "a whole number of at least 1"),
        ("erase_search", "span", '"bisect" or "spans"'),
        ("ablate", "half", '"zero" or "mean"'),
        ("keep_first_token", 1, "true or false"),
        ("patch_from", 3, "text in quotes"),
        ("patch_part", "head", '"layer" or "attention" or "mlp"'),
        ("lens", "tuned", '"logit" or "affine" or "jacobian"'),
        ("erase_threshold", 0, "a number above 0 and of at most 1"),
    ],
)
def test_a_wrong_value_says_what_it_must_be(name: str, value: Any, expected: str) -> None:
    with pytest.raises(WrongValue) as caught:
        EVERY[name].parse(value)
    assert str(caught.value) == expected


def test_the_default_is_always_allowed() -> None:
    for option in EVERY.values():
        assert option.parse(option.default) == option.default


def test_whole_numbers_are_numbers_too() -> None:
    value = EVERY["kl_threshold"].parse(1)
    assert (value, type(value)) == (1.0, float)


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-1"])
def test_what_is_typed_is_read_alike(text: str) -> None:
    assert EVERY["temperature"].parse_text("0.5") == 0.5
    with pytest.raises(WrongValue, match="a number of at least 0"):
        EVERY["temperature"].parse_text(text)


@pytest.mark.parametrize(
    "arguments", [("--lens-top-k", "1001"), ("--seed", str(2**63)), ("--tolerance", "0")]
)
def test_the_command_line_holds_the_same_limits(arguments: tuple[str, str]) -> None:
    outcome = CliRunner().invoke(run, ["demo", "--prompt", "hi", *arguments])
    assert outcome.exit_code == 2
    assert arguments[1] in outcome.output


@pytest.mark.parametrize("blank", ["", " "])
def test_no_layers_are_not_every_layer(tmp_path: Path, blank: str) -> None:
    example = "layers such as 0-5,20"
    for command, arguments in ((run, ["demo", "--prompt", "hi"]), (sweep, ["--model", "demo"])):
        outcome = CliRunner().invoke(command, [*arguments, "--layers", blank])
        assert outcome.exit_code == 2
        assert example in outcome.output
    path = tmp_path / "plan.toml"
    path.write_text(tomlkit.dumps({"layers": blank}))
    with pytest.raises(DepthError, match=example):
        read_plan(path, SweepPlan((), ()), Drawing(), Writing())
    with pytest.raises(WrongValue, match=example):
        EVERY["layers"].parse(" ")


def test_fields_without_a_declaration_are_no_options() -> None:
    assert "skipped" not in options_of(RunSettings)
    assert isinstance(options_of(RunSettings)["lens_top_k"], Option)


def test_a_plan_may_say_what_holds_anyway(tmp_path: Path) -> None:
    defaults = options_of(RunSettings) | options_of(SummarySettings) | options_of(Drawing)
    table = {name: option.default for name, option in defaults.items() if name != "layers"}
    path = tmp_path / "plan.toml"
    path.write_text(tomlkit.dumps(table))
    empty = SweepPlan((), ())
    assert read_plan(path, empty, Drawing(), Writing()) == empty


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        (run, (ModelSpec, RunSettings, SummarySettings)),
        (sweep, (ModelSpec, RunSettings, SummarySettings)),
        (generate, (ModelSpec, Writing)),
    ],
)
def test_the_command_line_has_every_option(command: click.Command, kinds: tuple[type, ...]) -> None:
    declared = {
        name: option.help
        for kind in kinds
        for name, option in options_of(kind).items()
        if name != "name"
    }
    helps = {
        parameter.name: parameter.help or ""
        for parameter in command.params
        if isinstance(parameter, click.Option)
    }
    assert declared.keys() <= helps.keys()
    for name, words in declared.items():
        assert helps[name].startswith(words)


def test_a_choice_has_other_names() -> None:
    dtype = options_of(ModelSpec)["dtype"]
    assert [dtype.parse(name) for name in ("bf16", "fp16", "fp32")] == [
        "bfloat16",
        "float16",
        "float32",
    ]
    with pytest.raises(WrongValue):
        dtype.parse("bf17")
