"""A model provider of Inspect, which finds it by itself: a model without some of its layers.

inspect eval task.py --model depthtui/demo -M without=17+25
"""

from __future__ import annotations

from typing import Any

from inspect_ai.model import modelapi

from depthtui.api.harness import folder_or_hub_id, leave_out


@modelapi(name="depthtui")
def depthtui() -> type[Any]:
    """The provider; torch is imported where it is used."""
    from inspect_ai.model._providers.hf import HuggingFaceAPI

    class DepthAPI(HuggingFaceAPI):
        """Inspect's own transformers provider (`hf`), with all of its arguments, without layers.

        Args:
            model_name: a model as everywhere in depthtui.
            without: layers, such as `17+25` or `3-5+20`; a number or a list, too.
            without_attention, without_mlp: layers of which this part is left out.
            arguments: those of `hf`, such as `device` or `batch_size`.

        Raises:
            DepthError: there is no such model or layer, or it cannot be left out.
        """

        def __init__(
            self,
            model_name: str,
            *positional: Any,
            without: Any = None,
            without_attention: Any = None,
            without_mlp: Any = None,
            **arguments: Any,
        ) -> None:
            folder = folder_or_hub_id(model_name, arguments.get("revision") or "")
            arguments.setdefault("model_path", folder)
            super().__init__(model_name, *positional, **arguments)
            leave_out(self, self.model, without, without_attention, without_mlp)

    return DepthAPI
