"""Values of other packages: where they appear, and what a broken one costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import dedent

import pytest

from depthtui.data.run_settings import SummarySettings
from depthtui.engine.result_cache import ResultCache
from depthtui.metrics.plugin_metrics import OTHER_KEYS
from depthtui.metrics.registry import ALL, METRIC_BY_NAME
from depthtui.plugins import (
    GROUPS,
    OFF,
    Plugin,
    PluginFailure,
    _failures,
    _in_use,
    _warn,
    guarded,
    no_check,
    raising,
)
from depthtui.report.summary_json import summary_json
from depthtui.report.summary_schema import summary_schema
from depthtui.sweep.records import record_key
from tests.builders.readings import group_of
from tests.builders.results import random_result
from tests.plugin_packages import make_package, make_template
from tests.sweep.sweeps import make_plan
from tests.tui.app_helpers import explore

ROOT = Path(__file__).parent.parent

BROKEN = """
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.depth.rules import kl
from depthtui.metrics import contributions, kept
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.spec import Measure, Metric
from depthtui.prompts.generators import addition
from depthtui.prompts.task import Task
from depthtui.report.format import Format


@dataclass
class Width(MetricResult):
    width: Annotated[np.ndarray, Shape("L", "T")]


@dataclass
class Similarity(MetricResult):
    width: Annotated[np.ndarray, Shape("L", "T")]


def metric(name, **changes):
    options = {"title": f"The {name}", "description": "", "formula": "", "result": Width}
    return Metric(**{"name": name, "compute": "broken.kernels:raises", **options, **changes})


a_number = 5
one_name = metric("another_name")
no_text = metric("no_text", description=None)
no_function = metric("no_function", summary="text")
no_list = metric("no_list", measures=[])
no_kernel = metric("no_kernel", compute="")
no_module = metric("no_module", compute="broken.nowhere:compute")
no_result = metric("no_result", result=int)
no_shape = metric("no_shape", result=MetricResult)
taken_result = metric("taken_result", result=Similarity)
taken_title = metric("taken_title", title=kept.METRIC.title)
taken_measure = metric("taken_measure", measures=contributions.METRIC.measures[:1])
in_the_pass = metric("in_the_pass", stage="layers")
verdict = metric("verdict")
with_lens = metric("with_lens", lens_reducer="broken.kernels:raises")
of_other_lens = metric("of_other_lens", lens_kind="magic")
of_no_setting = metric("of_no_setting", depends_on=("nowhere",))
two_measures = metric("two_measures", measures=(Measure("twice", "", "", id),) * 2)
of_no_metric = metric("of_no_metric", measures=(Measure("lost", "", "", id, metric="nowhere"),))
derived_int = metric("derived_int", stage="derived", derived_from="kept", result=5)
a_derived = metric("a_derived", stage="derived", derived_from="no_list", result=None)
of_nothing = metric("of_nothing", stage="derived", derived_from="nothing")
kept = metric("kept")
Capital = metric("Capital")

no_curve = replace(kl.RULE, name="no_curve", curve="nowhere", of_paper=False, of_token=False)
no_kind = replace(no_curve, name="no_kind", curve="kl", kind="magic")
of_tokens = replace(kl.RULE, name="of_tokens")
no_words = replace(no_curve, name="no_words", curve="kl", meaning="until {nothing}")
no_explanation = replace(no_curve, name="no_explanation", curve="kl", explanation=None)
no_subclass = replace(no_curve, name="no_subclass", curve="mean_cosine", kind="geometric")

words = {"title": "A task", "sentence": "A task."}
neither = Task(name="neither", **words)
no_dial = Task(name="no_dial", draw=addition, **words)
with_level = Task(name="with_level", written=list, dial="steps", **words)
hellaswag = Task(name="hellaswag", written=list, **words)

any_file = Format("any_file", "Any", b".*", "broken.kernels:raises")
any_byte = Format("any_byte", "Any", b".", "broken.kernels:raises")
no_renderer = Format("no_renderer", "None", b"x")
elsewhere = Format("elsewhere", "None", b"x", "nowhere.at_all:render")
with_data = Format("with_data", "None", b"x", "broken.kernels:raises", data=["runs"])
"""

RAISING = """
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from broken import Width, metric, words
from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import Prompt
from depthtui.depth.rule import Rule
from depthtui.depth.rules import kl
from depthtui.metrics.ranking import Ranked
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.spec import Measure
from depthtui.prompts.task import Task
from depthtui.report.format import Format


def raises(*arguments):
    raise KeyError("a bug")


def wide(context, partial):
    return Width(np.zeros((1, 2), np.float32))


def whole(context, partial):
    return Width(np.ones((len(context.residuals) - 1, len(context.residuals[0])), np.float32))


def number(context, partial):
    return 5


def over(result, run, tokens):
    return Reduced(tokens=3)


bad_kernel = metric("bad_kernel")
bad_shape = metric("bad_shape", compute="broken.kernels:wide")
bad_type = metric("bad_type", compute="broken.kernels:number")
bad_words = metric(
    "bad_words",
    compute="broken.kernels:whole",
    reduced=Reduced,
    reduce=over,
    measures=(Measure("bad_values", "Bad values", "", raises),),
    **dict.fromkeys(["summary", "findings", "means", "per_layer", "maps", "evidence"], raises),
)
bad_reduction = metric(
    "bad_reduction", compute="broken.kernels:whole", reduced=Reduced, reduce=raises
)
bad_pool = metric(
    "bad_pool", compute="broken.kernels:whole", reduced=Reduced, reduce=over, pool=raises
)
bad_need = metric("bad_need", compute="broken.kernels:whole", needs=(raises,))
bad_key = metric("bad_key", compute="broken.kernels:whole", cache_key=raises)



@dataclass(frozen=True, kw_only=True)
class Lacking(Reduced):
    nowhere: float


@dataclass
class Unranked(MetricResult, Ranked):
    width: Annotated[np.ndarray, Shape("L", "T")]

    @property
    def useful(self):
        raise KeyError("a bug")


def unranked(context, partial):
    return Unranked(whole(context, partial).width)


def ends(context, partial):
    raise GeneratorExit


def of_type(name, value, **changes):
    functions = ["summary", "findings", "means", "per_layer", "maps", "evidence", "memory", "work"]
    return metric(
        name,
        compute="broken.kernels:whole",
        reduced=Reduced,
        reduce=over,
        cache_key=lambda result: value,
        **dict.fromkeys(functions, lambda *arguments: value),
        **changes,
    )


bad_none = of_type("bad_none", None)
bad_number = of_type("bad_number", np.array(["text"]))
bad_lists = of_type("bad_lists", ["text"])


@dataclass(frozen=True, kw_only=True)
class Unkept(Reduced):
    values: dict


bad_record = metric(
    "bad_record",
    compute="broken.kernels:whole",
    reduced=Unkept,
    reduce=lambda result, run, tokens: Unkept(tokens=3, values={1: {2, 3}}),
)
bad_other = metric("bad_other", compute="broken.kernels:whole", reduced=Unkept, reduce=over)
bad_over = metric(
    "bad_over", compute="broken.kernels:whole", reduced=Lacking, reduce=Lacking.over
)
bad_curve = metric(
    "bad_curve",
    compute="broken.kernels:whole",
    reduced=Reduced,
    reduce=over,
    curves=("lost_curve",),
)
bad_useful = metric("bad_useful", result=Unranked, compute="broken.kernels:unranked")
bad_end = metric("bad_end", compute="broken.kernels:ends")
lost_rule = metric(
    "lost_rule",
    compute="broken.kernels:whole",
    measures=(
        Measure("lost_rule", "Lost", "", lambda run: run.get(Width).width, rule="no_curve"),
    ),
)
a_part = metric(
    "a_part",
    stage="derived",
    derived_from="lost_rule",
    result=None,
    measures=(Measure("a_part", "Part", "", lambda run: None),),
)


class LateRule(Rule):
    # It raises, or returns another type, on curves of other than seven depths.

    def layers(self, curves, settings):
        return super().layers(curves, settings)[..., : 0 if curves.shape[-1] != 7 else None]

    def estimate(self, curve, settings):
        if len(curve) != 7:
            raise KeyError("a bug")
        return super().estimate(curve, settings)

    def criterion(self, threshold, short=False):
        return 5


bad_rule = LateRule(**(vars(kl.RULE) | {"name": "bad_rule", "of_paper": False, "of_token": False}))

bad_draw = Task(
    name="bad_draw", draw=raises, dial="steps", levels=range(1, 3), default_level=1, **words
)
bad_prompt = Task(name="bad_prompt", written=lambda: [Prompt("a", ""), 5], **words)
bad_list = Task(name="bad_list", written=lambda: None, **words)
bad_answer = Task(name="bad_answer", written=lambda: [Prompt("a", 5)], **words)
bad_choices = Task(
    name="bad_choices",
    draw=lambda level, rng: Prompt("a b", " b"),
    choices=lambda prompt, rng: None,
    dial="steps",
    levels=range(1, 3),
    default_level=1,
    **words,
)
bad_render = Format("bad_render", "Bad", b"x", "broken.kernels:raises")
bad_bytes = Format("bad_bytes", "Bad", b"x", "broken.kernels:zeros")


def zeros(document):
    return b"0"
"""

BROKEN_NAMES = {
    "metric": (
        *("a_number", "no_text", "no_function", "no_list", "no_kernel"),
        *("no_module", "no_result", "no_shape", "taken_result", "taken_title", "taken_measure"),
        *("in_the_pass", "of_nothing", "kept", "Capital", "not_there"),
        *("verdict", "with_lens", "of_other_lens", "of_no_setting", "two_measures"),
        *("of_no_metric", "derived_int", "a_derived"),
    ),
    "rule": ("no_curve", "no_kind", "of_tokens", "no_words", "no_explanation", "no_subclass"),
    "task": ("neither", "no_dial", "with_level", "hellaswag"),
    "format": ("any_file", "any_byte", "no_renderer", "elsewhere", "with_data"),
}

RAISING_NAMES = {
    "metric": (
        *("bad_kernel", "bad_shape", "bad_type", "bad_words", "bad_reduction", "bad_pool"),
        *("bad_need", "bad_key", "bad_none", "bad_number", "bad_lists", "bad_over", "bad_curve"),
        *("bad_useful", "bad_end", "lost_rule", "a_part", "bad_record", "bad_other"),
    ),
    "rule": ("bad_rule",),
    "task": ("bad_draw", "bad_prompt", "bad_list", "bad_answer", "bad_choices"),
    "format": ("bad_render", "bad_bytes"),
}

REASONS = {
    "a_number": "broken:a_number is of type int, not Metric",
    "one_name": "its entry point is named one_name, and the value another_name",
    "no_text": "its description is None, not of type str",
    "no_function": "its summary is 'text', not of type Callable",
    "no_list": "its measures is [], not of type tuple",
    "no_kernel": "its compute is '', not the place",
    "no_module": "its compute is 'broken.nowhere:compute'",
    "no_result": "its result is not a dataclass that is a MetricResult",
    "no_shape": "its result is not a dataclass that is a MetricResult",
    "taken_result": "there is a Similarity already",
    "taken_title": "there is a title Knowledge kept already",
    "taken_measure": "there is a measure layer_norm_ratio already",
    "in_the_pass": "its stage is layers",
    "of_nothing": "there is no metric 'nothing'",
    "verdict": "summary.json has another verdict",
    "with_lens": "its lens_reducer is set",
    "of_other_lens": "its lens_kind is 'magic'",
    "of_no_setting": "no setting of a run is named nowhere",
    "two_measures": "there is a measure twice already",
    "of_no_metric": "its measure lost is of a metric nowhere",
    "derived_int": "its result is 5, not of type type[MetricResult] | None",
    "a_derived": "no_list is left out, from which it is derived",
    "no_explanation": "its explanation is None",
    "no_subclass": "its kind is geometric, for which a subclass of Rule finds the layer",
    "any_byte": "its `begins` matches any file",
    "kept": "depthtui has a metric of this name",
    "Capital": "its name has other characters",
    "not_there": "its import raised AttributeError",
    "no_curve": "no metric has a curve nowhere",
    "no_kind": "its kind is 'magic'",
    "of_tokens": "its of_token or of_paper is set",
    "no_words": "its check raised KeyError: 'nothing'",
    "neither": "it has neither or both of `draw` and `written`",
    "no_dial": "`draw` needs a `dial`",
    "with_level": "a written task has no `dial`",
    "hellaswag": "depthtui has a task of this name",
    "any_file": "its `begins` matches any file",
    "no_renderer": "it has neither a renderer nor a figure",
    "elsewhere": "its renderer is 'nowhere.at_all:render'",
    "with_data": "its `data` or `knows` is set",
    "no_import": "its import raised ModuleNotFoundError: No module named 'nowhere'",
    "looks": "a list of depthtui's values is looked at while it is",
    "prints": "its entry point is named prints, and the value of_nothing",
    "ends": "its import raised SystemExit: 3",
    "leaves": "its import raised Leave: \x1b[31mred",
    "gain": "depthtui-gain 0.1 has a metric of this name",
}

LISTS = """
from depthtui.depth import rules
from depthtui.metrics.registry import ALL
from depthtui.plugins import plugin_failures, report_failures_to
from depthtui.prompts.tasks import TASKS
from depthtui.report.formats import FORMATS

report_failures_to(lambda failure: None)
names = [[metric.name for metric in ALL], [rule.name for rule in rules.ALL], [*TASKS], [*FORMATS]]
"""


def broken_package(folder: Path) -> Path:
    """A package whose values are broken in many ways."""
    files = {
        "broken/__init__.py": BROKEN,
        "broken/kernels.py": RAISING,
        "no_import.py": "import nowhere",
        "looks.py": "from depthtui.metrics.registry import ALL\nMETRIC = [*ALL][0]",
        "prints.py": "print('printed')\nfrom broken import of_nothing as METRIC",
        "ends.py": "raise SystemExit(3)",
        "leaves.py": "class Leave(BaseException): pass\nraise Leave('\\x1b[31mred')",
    }
    entry_points: dict[str, dict[str, str]] = {group: {} for group in GROUPS.values()}
    for module, by_kind in (("broken", BROKEN_NAMES), ("broken.kernels", RAISING_NAMES)):
        for kind, names in by_kind.items():
            entry_points[GROUPS[kind]] |= {name: f"{module}:{name}" for name in names}
    entry_points["depthtui.metrics"] |= {
        "one_name": "broken:one_name",
        "no_import": "no_import:METRIC",
        "looks": "looks:METRIC",
        "prints": "prints:METRIC",
        "ends": "ends:METRIC",
        "leaves": "leaves:METRIC",
        "gain": "broken:no_text",
    }
    # Behind the other package in the order of names.
    return make_package(folder, "depthtui-xbroken", files, entry_points)


def python(code: str, *folders: Path, arguments: tuple[str, ...] = (), off: bool = False) -> str:
    """What Python prints for a code, with packages installed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*folders, ROOT)))}
    environment.pop(OFF, None)
    if off:
        environment[OFF] = "1"
    done = subprocess.run(
        [sys.executable, "-c", dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=folders[0].parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("template") / "site")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return broken_package(tmp_path_factory.mktemp("broken") / "site")


def test_the_manuals_package_is_on_every_list_of_the_command_line(template: Path) -> None:
    code = """
        import sys
        from click.shell_completion import ShellComplete
        from depthtui.cli import commands, main

        def completions(*words):
            shell = ShellComplete(commands, {}, "depthtui", "_DEPTHTUI_COMPLETE")
            return {item.value for item in shell.get_completions([*words], "")}

        assert "depthtui_gain" not in sys.modules
        for words in ("metrics", "tasks", "help metrics", "help rules", "help prompts",
                      "help schema", "help gain", "run --help-all", "sweep --help-all"):
            print("##", words)
            assert main(words.split()) == 0
        assert "gain" in completions("run", "--metrics")
        assert "backwards" in completions("run", "--task")
    """
    out = python(code, template)
    pages = dict(page.split("\n", 1) for page in out.split("## ")[1:])
    assert "From other packages: gain (depthtui-gain 0.1)." in pages["metrics"]
    assert "From other packages: backwards (depthtui-gain 0.1)." in pages["tasks"]
    assert "Norm gain" in pages["help metrics"]
    assert "How many layers run until the lens is certain." in pages["help rules"]
    assert "backwards" in pages["help prompts"]
    assert "|h_l+1| / |h_l|" in pages["help schema"]
    assert "lengthens" in pages["help gain"]
    assert "tsv" in pages["run --help-all"]
    assert "tsv" in pages["sweep --help-all"]


def test_a_package_can_be_imported_before_depthtui(template: Path) -> None:
    code = f"""
        import depthtui_gain.others
        {LISTS.replace(chr(10), chr(10) + "        ")}
        assert not plugin_failures(), plugin_failures()
        assert [kind[-1] for kind in names] == ["gain", "certain", "backwards", "tsv"]
    """
    python(code, template)


def test_no_plugins_leaves_all_of_them_out(template: Path) -> None:
    code = """
        import os, sys
        from depthtui.cli import main

        assert main(sys.argv[1:]) == 0
        assert "depthtui_gain" not in sys.modules
        # Processes that are begun from here leave them out too.
        assert os.environ["DEPTHTUI_NO_PLUGINS"]
    """
    for words in (("--no-plugins", "metrics"), ("metrics", "--no-plugins")):
        out = python(code, template, arguments=words)
        assert "similarity" in out
        assert "lengthens" not in out


def test_a_broken_one_is_left_out_and_named(template: Path, broken: Path) -> None:
    code = f"""
        import json
        {LISTS.replace(chr(10), chr(10) + "        ")}
        reasons = [[str(failure.plugin), failure.reason] for failure in plugin_failures()]
        print(json.dumps([names, reasons]))
    """
    names, reasons = json.loads(python(code, template, broken))
    assert {name for name, _ in reasons if "depthtui-xbroken 0.1" not in name} == set()
    by_name = {name.split(" of ")[0].split()[-1].strip("'"): reason for name, reason in reasons}
    assert {name: by_name.get(name, "")[: len(reason)] for name, reason in REASONS.items()} == (
        REASONS
    )
    assert set(by_name) == set(REASONS)
    for kind, values in zip(GROUPS, names, strict=True):
        assert not set(values) & (set(BROKEN_NAMES[kind]) - {"kept"})
        assert set(RAISING_NAMES.get(kind, ())) <= set(values)
        assert len(values) == len(set(values))


MEASURED = """
    import json, sys, warnings
    from pathlib import Path
    import numpy as np
    from depthtui import analyze
    from depthtui.errors import DepthError
    from depthtui.plugins import plugin_failures, report_failures_to
    from depthtui.prompts.asking import Asking
    from depthtui.prompts.tasks import make_prompts
    from tests.tiny_models import draw_weights, fresh, tiny_tokenizer

    report_failures_to(lambda failure: None)
    tokenizer = tiny_tokenizer()
    model = fresh("llama")
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    draw_weights(model, seed=1)
    texts = ["The ferry did not run, and seven plus five is twelve.", "She wound the clock."]
    out = Path(sys.argv[1])
"""


EVERY_MODULE = """
    import importlib, pkgutil, sys
    import depthtui

    optional = ("depthtui.lm_eval", "depthtui.inspect_ai", "depthtui.__main__")
    for module in pkgutil.walk_packages(depthtui.__path__, "depthtui."):
        if module.name not in optional and not module.name.endswith("fused_kernel"):
            importlib.import_module(module.name)
            assert "depthtui_gain" not in sys.modules, module.name
"""
"""No import of a module loads a plug-in, so that it can import any, and only who needs it pays."""


def test_the_manuals_package_is_measured_pooled_and_written(template: Path, tmp_path: Path) -> None:
    code = f"""{EVERY_MODULE}{MEASURED}
    names = ["logit_lens", "gain"]
    runs = analyze(model, texts, tokenizer, names, name="tiny", progress=False)
    assert not plugin_failures(), plugin_failures()
    for run in runs:
        stream = model(**tokenizer(run.prompt.text, return_tensors="pt"), output_hidden_states=True)
        norms = [h[0].norm(dim=-1) for h in stream.hidden_states[:-1]]
        for layer, (before, after) in enumerate(zip(norms, norms[1:])):
            gain = run.measured["gain"].gain[layer]
            np.testing.assert_allclose(gain, (after / before).detach().numpy(), rtol=1e-4)
    runs.export(out, formats=["json", "html", "md", "tsv"])
    frame = runs.to_dataframe()
    assert set(frame[frame.metric == "gain"].measure) == {{"gain"}}
    assert "certain" in [evidence.measure for evidence in runs.verdict().evidence]
    (prompt,) = make_prompts("backwards", 3)
    assert (prompt.task, prompt.level) == ("backwards", "3")
    """
    python(code, template, arguments=(str(tmp_path / "out"),))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert len(summary["gain"]["gain"]) == summary["model"]["n_layers"]
    assert "Norm gain" in (tmp_path / "out" / "summary.html").read_text()
    rows = (tmp_path / "out" / "figures" / "norm-gain-by-layer.tsv").read_text().splitlines()
    assert rows[0].split("\t")[0] == "x: layer"


def test_one_that_raises_costs_itself_alone(broken: Path, tmp_path: Path) -> None:
    names = [name for name in RAISING_NAMES["metric"] if name != "a_part"]
    code = f"""{MEASURED}
    names = ["logit_lens", *{names!r}]
    with warnings.catch_warnings(record=True):
        runs = analyze(model, texts, tokenizer, names, name="tiny", progress=False)
    errors = []
    def attempt(work, *arguments, **options):
        try:
            work(*arguments, **options)
        except DepthError as error:
            errors.append(str(error))
    attempt(runs.export, out, formats=["json", "html", "bad_render", "bad_bytes", "md"])
    attempt(make_prompts, "bad_draw", 1)
    for name in ("bad_prompt", "bad_list", "bad_answer"):
        attempt(make_prompts, name)
    attempt(make_prompts, "bad_choices", 1, asking=Asking(choices=True))
    runs.to_dataframe()
    lacking = dict(runs[0].unavailable)
    reasons = [failure.sentence for failure in plugin_failures() if "bad_" in failure.sentence]
    print(json.dumps([lacking, errors, reasons]))
    """
    lacking, errors, reasons = json.loads(python(code, broken, arguments=(str(tmp_path / "out"),)))
    assert set(lacking) == {"bad_kernel", "bad_shape", "bad_type", "bad_useful", "bad_end"}
    assert "KeyError" in lacking["bad_kernel"]
    assert lacking["bad_end"] == "its kernel raised GeneratorExit"
    assert lacking["bad_shape"].endswith("made a wrong result: Width.width is of another size")
    assert lacking["bad_type"].endswith("made a value of type int, not Width")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["logit_lens"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("summary.json", "summary.html", "summary.md")
    }
    assert "The format bad_render of depthtui-xbroken 0.1 raised KeyError: 'a bug'." in errors[0]
    assert "The format bad_bytes of depthtui-xbroken 0.1 made a file" in errors[0]
    assert errors[1:] == [
        "The task bad_draw of depthtui-xbroken 0.1 raised KeyError: 'a bug'.",
        "The task bad_prompt of depthtui-xbroken 0.1 made a value of type int, not Prompt.",
        "The task bad_list of depthtui-xbroken 0.1 raised TypeError: 'NoneType' object is not"
        " iterable.",
        "The task bad_answer of depthtui-xbroken 0.1 made a prompt with a value of another type.",
        "The task bad_choices of depthtui-xbroken 0.1 made choices that are no question with a list"
        " of options.",
    ]
    told = "\n".join(reasons)
    for part in ("summary", "findings", "per_layer", "measure bad_values", "evidence"):
        assert f"bad_words of depthtui-xbroken 0.1: its {part} raised" in told
    assert "bad_number of depthtui-xbroken 0.1: its summary" not in told
    for part in ("findings", "per_layer", "maps", "evidence", "memory", "work", "cache_key"):
        for name in ("none", "number", "lists"):
            assert f"bad_{name} of depthtui-xbroken 0.1: its {part} returned" in told
    for part in ("layers raised", "estimate raised", "criterion returned 5, not of type str"):
        assert f"The rule bad_rule of depthtui-xbroken 0.1: its {part}" in told
    assert [depth["layer"] for depth in summary["effective_depth"] if depth["rule"] == "kl"] == [
        depth["layer"] for depth in summary["effective_depth"] if depth["rule"] == "bad_rule"
    ]
    for name in ("bad_over", "bad_curve", "bad_record", "bad_other"):
        assert f"{name} of depthtui-xbroken 0.1: its reduce raised" in told
    for name, part in (("reduction", "reduce"), ("pool", "pool"), ("need", "need")):
        assert f"bad_{name} of depthtui-xbroken 0.1: its {part} raised" in told


def test_ctrl_c_is_no_failure_and_a_failure_has_no_escapes() -> None:
    plugin = Plugin("metric", "gain", "depthtui-gain", "0.1", "depthtui_gain:METRIC")
    interrupt = partial(signal.raise_signal, signal.SIGINT)
    for call in (raising(plugin, interrupt), guarded(plugin, "summary", interrupt, no_check)):
        with pytest.raises(KeyboardInterrupt):
            call()
    with pytest.warns(UserWarning, match="raised Leave: ␛"):
        _warn(PluginFailure(plugin, "its import raised Leave: \x1b[31mred"))


def test_another_version_is_computed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    run, metric = random_result(4, 5), METRIC_BY_NAME["similarity"]
    cache = ResultCache(None, run.model)  # type: ignore[arg-type]
    (cell,) = make_plan(("alpha",), ("addition",)).cells
    settings = replace(run.settings, metrics=("similarity",))

    def keys() -> tuple[str, str]:
        record = record_key(cell, 0, run.prompt, settings, [])
        return cache.metric_key(run, metric), record

    def of_version(version: str) -> tuple[str, str]:
        plugin = Plugin("metric", "similarity", "depthtui-gain", version, "gain:METRIC")
        monkeypatch.setitem(_in_use, ("metric", "similarity"), plugin)
        return keys()

    own = keys()
    every = [own, of_version("0.1"), of_version("0.2")]
    assert of_version("0.1") == every[1]
    assert len({key for key, _ in every}) == len({record for _, record in every}) == 3


def test_threads_that_look_at_once_see_the_same_values(tmp_path: Path) -> None:
    files = {"waits.py": "import time\ntime.sleep(0.2)\nfrom depthtui_gain import METRIC"}
    make_package(
        tmp_path / "site", "depthtui-gain", files, {"depthtui.metrics": {"gain": "waits:METRIC"}}
    )
    code = """
        from threading import Thread
        from depthtui.metrics.registry import ALL

        seen = []
        looks = [Thread(target=lambda: seen.append(ALL[-1])) for _ in range(4)]
        for look in looks:
            look.start()
        for look in looks:
            look.join()
        assert [metric.name for metric in seen] == ["gain"] * 4
        assert all(metric is ALL[-1] for metric in seen)
    """
    template = make_template(tmp_path / "template")
    python(code, tmp_path / "site", template)


def test_doctor_lists_them_with_their_packages(template: Path, broken: Path) -> None:
    code = """
        import json
        from depthtui.cli.checks import check_plugins
        from depthtui.plugins import report_failures_to
        report_failures_to(lambda failure: None)
        checks = check_plugins()
        print(json.dumps([[one.level, one.finding, one.remedy] for one in checks]))
    """
    checks = json.loads(python(code, template, broken))
    assert ["ok", "the metric gain of depthtui-gain 0.1", ""] in checks
    (no_text,) = (check for check in checks if "no_text" in check[1])
    assert no_text[0] == "broken"
    assert no_text[1].endswith("is left out: its description is None, not of type str")
    assert no_text[2].endswith("pip uninstall depthtui-xbroken")
    ((level, words, _),) = json.loads(python(code, template, off=True))
    assert (level, words) == ("note", "left out (--no-plugins)")


def test_a_metric_replaces_no_other_key_of_the_summary() -> None:
    runs = [random_result(6, 5), random_result(6, 5, seed=1)]
    settings = SummarySettings()
    groups = [group_of(runs, settings=settings), group_of(runs[:1], runs[1:], settings=settings)]
    beside = {"compared": {"a": 1}, "lm_eval": {"a": 1}, "missing_runs": ["a run"]}
    keys = {key for group in groups for key in json.loads(summary_json(group, beside))}
    keys |= summary_schema()["properties"].keys()
    assert keys - {metric.name for metric in ALL} <= OTHER_KEYS


async def test_the_explorer_warns_of_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_failures, "all", [])
    monkeypatch.setattr(_failures, "_report", None)
    plugin = Plugin("metric", "gain", "depthtui-gain", "0.1", "depthtui_gain:METRIC")
    _failures.all.append(PluginFailure(plugin, "there is a Gain already"))
    async with explore(tmp_path) as it:
        sentence = "The metric gain of depthtui-gain 0.1 is left out: there is a Gain already."
        await it.until(lambda: sentence in it.toasts())
        for part in ("summary", "findings"):
            _failures.add(PluginFailure(plugin, f"its {part} raised KeyError"))
        more = "its summary raised KeyError. So are 1 more: see `depthtui doctor`."
        await it.until(lambda: any(more in toast for toast in it.toasts()))
