"""A model type of lm-evaluation-harness: a model without some of its layers.

    python -m depthtui.lm_eval --model depthtui \\
        --model_args pretrained=demo,without=17+25 --tasks arc_easy

The harness finds no models of other packages: this module registers `depthtui` beside its own,
and hands over to its command, with all of its options. From Python, import this module before
`lm_eval.simple_evaluate(model="depthtui", …)`.
"""

from __future__ import annotations

import sys
import weakref
from contextlib import ExitStack
from typing import Any

from depthtui.api.absence import without as absent
from depthtui.data.run_settings import ModelSpec
from depthtui.data.selection import layers_in, read_layers
from depthtui.errors import DepthError
from depthtui.installing import install_extra
from depthtui.models.catalog import resolve
from depthtui.models.loading import local_folder
from depthtui.options import WrongValue
from depthtui.settings import load_settings, models_dir

try:
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM
except ImportError as error:
    problem = DepthError(
        "lm-evaluation-harness is not installed.", f"Install it: {install_extra('lm-eval')}"
    )
    if __name__ == "__main__":
        sys.exit(str(problem))
    raise problem from error


@register_model("depthtui")
class DepthLM(HFLM):
    """The harness's own transformers model (`hf`), with all of its arguments, without layers.

    Args:
        pretrained: a model as everywhere in depthtui, or one that is loaded.
        without: layers, such as `17+25` or `3-5+20`; a number or a list, too.
        without_attention, without_mlp: layers of which this part is left out.
        arguments: those of `hf`, such as `dtype` or `batch_size`.

    Raises:
        DepthError: there is no such model or layer, or it cannot be left out.
    """

    def __init__(
        self,
        pretrained: Any,
        without: Any = (),
        without_attention: Any = (),
        without_mlp: Any = (),
        **arguments: Any,
    ) -> None:
        if isinstance(pretrained, str):
            pretrained = _folder_or_hub_id(pretrained)
        super().__init__(pretrained, **arguments)
        model = self.model.get_base_model() if arguments.get("peft") else self.model
        config = model.config.get_text_config(decoder=True)
        named = {
            "layers": _layers("without", without, config.num_hidden_layers),
            "attention": _layers("without_attention", without_attention, config.num_hidden_layers),
            "mlp": _layers("without_mlp", without_mlp, config.num_hidden_layers),
        }
        stack = ExitStack()
        stack.enter_context(absent(model, **named))
        weakref.finalize(self, stack.close)


def _folder_or_hub_id(name: str) -> str:
    """The folder of a model that is no hub id; the harness loads these itself."""
    folder = models_dir(load_settings(on_notice=print).cache_folder)
    source = resolve(ModelSpec(name), folder)
    if source.kind == "hub":
        return name
    return str(local_folder(source, folder, lambda progress: None, trust_remote_code=False))


def _layers(argument: str, value: Any, n_layers: int) -> list[int]:
    """The layers that an argument names; commas separate the arguments themselves.

    Raises:
        DepthError: it names none.
    """
    if value is None or value == () or value == []:
        return []
    try:
        text = value if isinstance(value, list | tuple) else str(value).replace("+", ",")
        return layers_in(read_layers(text), n_layers)
    except WrongValue as error:
        words = str(error).replace("0-5,20 or 0-28/4", "0-5+20 or 0-28/4")
        raise DepthError(f"{argument} must be {words}, not {value!r}.") from None


def main() -> None:
    """Run the harness's command."""
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except DepthError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
