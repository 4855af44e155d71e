"""Arguments of `analyze`: prompts, names, and options of the command line by keyword."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from depthtui.data.run import Prompt
from depthtui.data.run_settings import (
    ModelSpec,
    RunSettings,
    Skip,
    SummarySettings,
)
from depthtui.data.trust import TrustedModels
from depthtui.errors import DepthError
from depthtui.metrics.registry import check_names
from depthtui.options import Option, WrongValue, options_of
from depthtui.prompts.choices import problem_of
from depthtui.settings import Settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    AnySettings = TypeVar("AnySettings", bound=DataclassInstance)

_OF_THE_CACHE = ("cache_dir", "cache_limit", "use_cache")
_TRUST = "trust_remote_code"


def names_of(names: str | Iterable[str]) -> tuple[str, ...]:
    """Names from a list, or from a text with commas."""
    return tuple(names.split(",")) if isinstance(names, str) else tuple(names)


def prompts_of(prompts: str | Prompt | Iterable[str | Prompt]) -> list[Prompt]:
    """One or several texts as prompts.

    Raises:
        DepthError: there is no prompt, or one is no text; the error names it.
    """
    items = [prompts] if isinstance(prompts, str | Prompt) else list(prompts)
    if not items:
        raise DepthError("There is no prompt.", "Give a text, or a list of texts.")
    return [_prompt(number, prompt) for number, prompt in enumerate(items)]


def _prompt(number: int, text_or_prompt: object) -> Prompt:
    prompt = Prompt(text_or_prompt) if isinstance(text_or_prompt, str) else text_or_prompt
    if not isinstance(prompt, Prompt):
        raise DepthError(
            f"Prompt {number} is no text but a {type(prompt).__name__}.",
            "Give a text or a Prompt.",
        )
    if not prompt.text:
        raise DepthError(f"Prompt {number} is empty.", "Give a text of at least one word.")
    if not prompt.text.endswith(prompt.answer):
        raise DepthError(
            f"The answer of prompt {number} is not the end of its text.",
            "The text is all that the model reads, the answer included.",
        )
    if problem := problem_of(prompt):
        raise DepthError(f"Prompt {number}: {problem}.")
    return prompt


class Keywords:
    """Options of the command line and the settings file, by their names.

    Args:
        options: the values by name.
        settings: the settings file, with the defaults of other options.

    Raises:
        DepthError: there is no such option.
    """

    def __init__(self, options: Mapping[str, Any], settings: Settings) -> None:
        names = {*_FREE, *_OF_THE_CACHE, _TRUST}
        for kind in (RunSettings, SummarySettings, ModelSpec):
            names |= options_of(kind).keys()
        names -= {"metrics", "name"}  # separate parameters
        unknown = options.keys() - names
        if unknown:
            raise DepthError(
                f"There is no option {', '.join(sorted(unknown))}.",
                f"There are {', '.join(sorted(names))}.",
            )
        self._options = dict(options)
        self._settings = settings

    def run_settings(self, metrics: tuple[str, ...]) -> RunSettings:
        """The settings that the runs' arrays depend on.

        Raises:
            DepthError: there is no such metric.
        """
        check_names(metrics)
        return self._over(self._settings.run_settings(metrics))

    def summary_settings(self) -> SummarySettings:
        """How runs are pooled."""
        return self._over(self._settings.summary_settings())

    def spec(self, name: str) -> ModelSpec:
        """The spec by which the model of this name is loaded."""
        return replace(self._over(ModelSpec()), name=name)

    def trusted(self) -> TrustedModels:
        """Whether Python code that comes with the model may run."""
        trusts = self._options.get(_TRUST, False)
        if not isinstance(trusts, bool):
            raise DepthError(f"{_TRUST} must be True or False, not {trusts!r}.")
        return TrustedModels(every=trusts)

    def file(self) -> Settings:
        """The settings file, overridden by the given values."""
        return self._over(self._settings)

    def check_nothing_to_load(self) -> None:
        """Check that no option is given that applies only to loading a model.

        Raises:
            DepthError: there are such options; the error names them.
        """
        names = self._options.keys() & {*options_of(ModelSpec), *_OF_THE_CACHE, _TRUST}
        if names:
            raise DepthError(
                f"{', '.join(sorted(names))}: only for a model that is loaded by name.",
                "A loaded model is measured as it is, and nothing of it is cached.",
            )

    def _over(self, settings: AnySettings) -> AnySettings:
        names = {field.name for field in fields(settings)} & self._options.keys()
        options = options_of(type(settings))
        values = {
            name: _FREE[name](self._options[name])
            if name in _FREE
            else _parse(name, options[name], self._options[name])
            for name in names
        }
        return replace(settings, **values)


def _parse(name: str, option: Option, value: Any) -> Any:
    try:
        return option.parse(str(value) if isinstance(value, Path) else value)
    except WrongValue as error:
        raise DepthError(f"{name} must be {error}, not {value!r}.") from None


def _texts(texts: str | Iterable[str]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _skips(layers: int | Skip | Iterable[int | Skip]) -> tuple[Skip, ...]:
    skips = [layers] if isinstance(layers, int | Skip) else layers
    return tuple(layer if isinstance(layer, Skip) else Skip(layer) for layer in skips)


_FREE: dict[str, Callable[[Any], Any]] = {"baseline": _texts, "skipped": _skips}
"""Settings of a run that do not fit in one word of a command line, with their readers."""
