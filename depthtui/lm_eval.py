"""A model type of lm-evaluation-harness: a model without some of its layers.

    python -m depthtui.lm_eval --model depthtui \\
        --model_args pretrained=demo,without=17+25 --tasks arc_easy

The harness finds no models of other packages: this module registers `depthtui` beside its own,
and hands over to its command, with all of its options. From Python, import this module before
`lm_eval.simple_evaluate(model="depthtui", …)`.
"""

from __future__ import annotations

import sys
from typing import Any

from depthtui.api.harness import folder_or_hub_id, leave_out
from depthtui.errors import DepthError
from depthtui.installing import install_extra

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
        arguments: those of `hf`, such as `dtype` or `peft`.

    Raises:
        DepthError: there is no such model or layer, or it cannot be left out.
    """

    def __init__(
        self,
        pretrained: Any = None,
        without: Any = None,
        without_attention: Any = None,
        without_mlp: Any = None,
        **arguments: Any,
    ) -> None:
        if pretrained is None:
            raise DepthError(
                "The model is not named.", "Name it: --model_args pretrained=demo,without=17+25."
            )
        if isinstance(pretrained, str):
            pretrained = folder_or_hub_id(pretrained, arguments.get("revision") or "")
        super().__init__(pretrained, **arguments)
        model = self.model.get_base_model() if arguments.get("peft") else self.model
        leave_out(self, model, without, without_attention, without_mlp)


def main() -> None:
    """Run the harness's command."""
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except DepthError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
