"""Models and layers as the commands of evaluation harnesses name them: in texts."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from depthtui.api.absence import without as absent
from depthtui.data.run_settings import ModelSpec
from depthtui.data.selection import layers_in, read_layers
from depthtui.errors import DepthError
from depthtui.models.catalog import resolve
from depthtui.options import WrongValue
from depthtui.settings import load_settings, models_dir

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def folder_or_hub_id(name: str, revision: str = "") -> str:
    """The folder of a model that depthtui opens, or a hub id, which harnesses load themselves.

    Args:
        name: the model.
        revision: a revision on the hub; empty for the default.

    Raises:
        DepthError: there is no such model or revision.
    """
    folder = models_dir(load_settings(on_notice=print).cache_folder)
    source = resolve(ModelSpec(name, revision), folder)
    if source.kind == "hub":
        from depthtui.models.hub import check_exists

        check_exists(source.location, source.revision)
        return name
    from depthtui.models.loading import local_folder

    return str(local_folder(source, folder, lambda progress: None, trust_remote_code=False))


def leave_out(
    owner: object, model: PreTrainedModel, without: Any, without_attention: Any, without_mlp: Any
) -> None:
    """Leave layers or parts out of a model for as long as its owner lives.

    Args:
        owner: the harness's object for the model.
        model: the model.
        without: layers, such as `17+25`, 17 or a list; empty or None for none.
        without_attention, without_mlp: layers of which this part is left out.

    Raises:
        DepthError: there are no such layers, or they cannot be left out.
    """
    n_layers = model.config.get_text_config(decoder=True).num_hidden_layers
    stack = ExitStack()
    stack.enter_context(
        absent(
            model,
            layers=_layers("without", without, n_layers),
            attention=_layers("without_attention", without_attention, n_layers),
            mlp=_layers("without_mlp", without_mlp, n_layers),
        )
    )
    weakref.finalize(owner, stack.close)


def _layers(argument: str, value: Any, n_layers: int) -> Sequence[int]:
    """The layers of an argument; commas separate arguments, so that `+` stands between layers.

    Raises:
        DepthError: it names none.
    """
    if value in (None, "", (), []):
        return ()
    try:
        text = value if isinstance(value, list | tuple) else str(value).replace("+", ",")
        return layers_in(read_layers(text), n_layers)
    except WrongValue as error:
        words = str(error).replace("5,20", "5+20")
        raise DepthError(f"{argument} must be {words}, not {value!r}.") from None
