"""Fetches a model from the Hugging Face hub, or quickly raises why not."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from depthtui.data.protocol import Progress
from depthtui.errors import DepthError, first_line
from depthtui.models.catalog import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    WEIGHTS_INDEX,
    complete_snapshot,
    hub_snapshot,
    weight_files,
)
from depthtui.models.free_space import check_disk
from depthtui.models.reach import check_reachable, hub_endpoint
from depthtui.settings import hub_cache

Report = Callable[[Progress], None]
CheckFolder = Callable[[Path], object]

_ANSWER_SECONDS = 30.0
_POLL_SECONDS = 0.1

_SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")


def fetch(
    model_id: str,
    revision: str,
    progress: Report,
    *,
    check: CheckFolder,
    with_code: bool = False,
) -> Path:
    """The folder of a hub model, without the network where it is complete in the hub cache.

    `check` is called with the folder before its weights are fetched, and may refuse it.
    The model's own code is fetched only `with_code`.

    Raises:
        DepthError: it cannot be reached, does not exist, is gated or has no safe weights.
    """
    complete = complete_snapshot(model_id, revision, with_code)
    if complete is not None:
        return complete
    check_reachable(model_id)
    endpoint = hub_endpoint()
    progress(Progress("Asking the hub", 0, 0, "B"))
    with _hub_errors(model_id, revision):
        return _download(model_id, revision or "main", endpoint, progress, check, with_code)


def check_exists(model_id: str, revision: str) -> None:
    """Check that a model is on the hub, or in the hub's cache, whole or in part.

    Raises:
        DepthError: the hub cannot be reached, or has no such model or revision.
    """
    if hub_snapshot(model_id, revision).is_dir():
        return
    check_reachable(model_id)
    with _hub_errors(model_id, revision):
        _sizes(model_id, revision or "main", hub_endpoint())


def fetch_adapter(adapter_id: str, progress: Report, *, check: CheckFolder) -> Path:
    """Fetch an adapter from the hub and return its folder.

    `check` is called with its folder before its weights are fetched, and may refuse it.

    Raises:
        DepthError: it cannot be reached, does not exist, is gated or has no safe weights.
    """
    check_reachable(adapter_id)
    endpoint = hub_endpoint()
    progress(Progress("Asking the hub", 0, 0, "B"))
    with _hub_errors(adapter_id, ""):
        sizes = _sizes(adapter_id, "main", endpoint)
        if ADAPTER_CONFIG not in sizes:
            raise DepthError(
                f"{adapter_id} on the hub is no adapter: it has no {ADAPTER_CONFIG}.",
                "Choose an adapter of peft.",
            )
        requested_sizes = {ADAPTER_CONFIG: sizes[ADAPTER_CONFIG]}
        check(_snapshot(adapter_id, "main", endpoint, requested_sizes, progress))
        if ADAPTER_WEIGHTS not in sizes:
            raise _no_safetensors(adapter_id, sizes, [ADAPTER_WEIGHTS])
        requested_sizes[ADAPTER_WEIGHTS] = sizes[ADAPTER_WEIGHTS]
        check_disk(hub_cache(), requested_sizes[ADAPTER_WEIGHTS], f"Fetching {adapter_id}")
        return _snapshot(adapter_id, "main", endpoint, requested_sizes, progress)


def _sizes(model_id: str, revision: str, endpoint: str) -> dict[str, int]:
    """The size of each file of a model on the hub, in bytes."""
    api = HfApi(endpoint=endpoint)
    info = api.model_info(model_id, revision=revision, files_metadata=True, timeout=_ANSWER_SECONDS)
    return {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}


def _download(
    model_id: str,
    revision: str,
    endpoint: str,
    progress: Report,
    check: CheckFolder,
    with_code: bool,
) -> Path:
    sizes = _sizes(model_id, revision, endpoint)
    if "config.json" not in sizes:
        raise _no_model(model_id, sizes)
    patterns = (*_SMALL_FILES, "*.py") if with_code else _SMALL_FILES
    small = [
        name
        for name in sizes
        if "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)
    ]

    def fetch(names: list[str]) -> Path:
        return _snapshot(
            model_id, revision, endpoint, {name: sizes[name] for name in names}, progress
        )

    folder = fetch(small)
    check(folder)
    weights = [file_.name for file_ in weight_files(folder)]
    missing_weights = [weight for weight in weights if weight not in sizes]
    if missing_weights:
        raise _no_safetensors(model_id, sizes, missing_weights)
    check_disk(hub_cache(), sum(sizes[weight] for weight in weights), f"Fetching {model_id}")
    return fetch(small + weights)


def _snapshot(
    model_id: str, revision: str, endpoint: str, sizes: dict[str, int], progress: Report
) -> Path:
    """Fetch some files, reporting from this thread while other threads download."""
    total = sum(sizes.values())
    bars: list[_CountingBar] = []
    stopped = threading.Event()

    class StoppableBar(_CountingBar):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            bars.append(self)

        def update(self, n: float | None = 1) -> bool | None:
            if stopped.is_set():
                raise InterruptedError
            return super().update(n)

    def report() -> None:
        bytes_done = max((int(bar.n) for bar in bars if bar.unit == "B"), default=0)
        progress(Progress(f"Fetching {model_id}", min(bytes_done, total), total, "B"))

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(
            snapshot_download,
            model_id,
            revision=revision,
            endpoint=endpoint,
            cache_dir=hub_cache(),
            allow_patterns=list(sizes),
            tqdm_class=StoppableBar,
        )
        try:
            while not work.done():
                report()
                threading.Event().wait(_POLL_SECONDS)
        except BaseException:
            stopped.set()
            raise
    return Path(work.result())


class _CountingBar(tqdm):  # type: ignore[misc]
    """A progress bar that only counts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "file": io.StringIO()})


@contextmanager
def _hub_errors(model_id: str, revision: str) -> Iterator[None]:
    page = "its page on the hub"
    try:
        yield
    except DepthError:
        raise
    except GatedRepoError as error:
        raise DepthError(
            f"{model_id} is gated: its owner wants to know who uses it.",
            f"Ask for access on {page}, then run `hf auth login` or set HF_TOKEN.",
        ) from error
    except RevisionNotFoundError as error:
        raise DepthError(
            f"{model_id} has no revision {revision or 'main'!r}.", f"See the branches on {page}."
        ) from error
    except RepositoryNotFoundError as error:
        raise DepthError(
            f"The hub has no model {model_id}, or it is private.",
            "Check the id for a typing error; for a private model run `hf auth login`.",
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise DepthError(f"The hub answered with an error ({status}).", "Try later.") from error
    except Exception as error:
        if not _is_network_error(error):
            raise
        raise DepthError(
            f"The connection to the hub broke: {first_line(error)}.",
            "Try again: what was fetched is saved.",
        ) from error


def _is_network_error(error: Exception) -> bool:
    chain: BaseException | None = error
    while chain is not None:
        library = type(chain).__module__.split(".")[0]
        if library.startswith(("httpx", "httpcore")) or isinstance(chain, ConnectionError):
            return True
        chain = chain.__cause__ or chain.__context__
    return False


def _no_model(model_id: str, sizes: dict[str, int]) -> DepthError:
    if any(name.endswith(".gguf") for name in sizes):
        hint = "It holds GGUF files: download one, and open that file."
    elif "adapter_config.json" in sizes:
        hint = "It holds an adapter: name its base as the model, and this one with --adapter."
    else:
        hint = "Choose a model for transformers."
    return DepthError(f"{model_id} on the hub is no model: it has no config.json.", hint)


def _no_safetensors(model_id: str, sizes: dict[str, int], missing_weights: list[str]) -> DepthError:
    if WEIGHTS_INDEX not in sizes and any(name.endswith((".bin", ".pt")) for name in sizes):
        return DepthError(
            f"{model_id} has its weights only as a pickle, "
            "and opening a pickle can run any program hidden in it.",
            "Look on the hub for a revision or a copy with safetensors, and name it.",
        )
    return DepthError(
        f"{model_id} on the hub lacks {missing_weights[0]}.", "Choose another copy of it."
    )
