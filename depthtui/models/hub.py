"""Fetching a model from the Hugging Face hub, or saying quickly why not."""

from __future__ import annotations

import io
import os
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, snapshot_download
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
    WEIGHTS_INDEX,
    cached_snapshot,
    hub_cache,
    read_config,
    weight_files,
)
from depthtui.models.free_space import check_disk

Report = Callable[[Progress], None]
CheckFolder = Callable[[Path], object]

_REACH_SECONDS = 3.0
_ANSWER_SECONDS = 30.0
_POLL_SECONDS = 0.1
HOW_TO_DO_WITHOUT = (
    "Check the network, HF_ENDPOINT and proxies; or open `demo`, a local folder or a GGUF file."
)

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

    `check` sees the folder before its weights are fetched, and may refuse it.
    The model's own code is fetched only `with_code`.

    Raises:
        DepthError: it cannot be reached, does not exist, is gated or has no safe weights.
    """
    cached = cached_snapshot(model_id, revision)
    if cached is not None and not (with_code and _lacks_code(cached)):
        return cached
    endpoint = hub_endpoint()
    _check_reachable(model_id, endpoint)
    progress(Progress("Asking the hub", 0, 0, "B"))
    with _hub_errors(model_id, revision):
        return _download(model_id, revision or "main", endpoint, progress, check, with_code)


def _lacks_code(folder: Path) -> bool:
    return "auto_map" in read_config(folder) and not any(folder.glob("*.py"))


def _download(
    model_id: str,
    revision: str,
    endpoint: str,
    progress: Report,
    check: CheckFolder,
    with_code: bool,
) -> Path:
    api = HfApi(endpoint=endpoint)
    info = api.model_info(model_id, revision=revision, files_metadata=True, timeout=_ANSWER_SECONDS)
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    if "config.json" not in sizes:
        raise _no_model(model_id, sizes)
    patterns = (*_SMALL_FILES, "*.py") if with_code else _SMALL_FILES
    small = [
        name
        for name in sizes
        if "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)
    ]

    def take(names: list[str]) -> Path:
        return _snapshot(
            model_id, revision, endpoint, {name: sizes[name] for name in names}, progress
        )

    folder = take(small)
    check(folder)
    weights = [file_.name for file_ in weight_files(folder)]
    missing = [weight for weight in weights if weight not in sizes]
    if missing:
        raise _no_safetensors(model_id, sizes, missing)
    check_disk(hub_cache(), sum(sizes[weight] for weight in weights), f"Fetching {model_id}")
    return take(small + weights)


def _snapshot(
    model_id: str, revision: str, endpoint: str, sizes: dict[str, int], progress: Report
) -> Path:
    """Fetch some files, reporting from this thread while others download."""
    total = sum(sizes.values())
    bars: list[_Bar] = []
    stopped = threading.Event()

    class Bar(_Bar):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            bars.append(self)

        def update(self, n: float | None = 1) -> bool | None:
            if stopped.is_set():
                raise InterruptedError
            return super().update(n)

    def report() -> None:
        done = max((int(bar.n) for bar in bars if bar.unit == "B"), default=0)
        progress(Progress(f"Fetching {model_id}", min(done, total), total, "B"))

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(
            snapshot_download,
            model_id,
            revision=revision,
            endpoint=endpoint,
            cache_dir=hub_cache(),
            allow_patterns=list(sizes),
            tqdm_class=Bar,
        )
        try:
            while not work.done():
                report()
                threading.Event().wait(_POLL_SECONDS)
        except BaseException:
            stopped.set()
            raise
    return Path(work.result())


class _Bar(tqdm):  # type: ignore[misc]
    """A progress bar that only counts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "file": io.StringIO()})


def _check_reachable(model_id: str, endpoint: str) -> None:
    if is_forbidden():
        raise DepthError(
            f"{model_id} is not complete in the hub cache, and HF_HUB_OFFLINE forbids to fetch it.",
            "Unset HF_HUB_OFFLINE, or open a local folder.",
        )
    if not reaches(endpoint):
        raise DepthError(
            f"The Hugging Face hub cannot be reached ({_first_hop(endpoint)[0]}), and {model_id} "
            "is not on this disk.",
            HOW_TO_DO_WITHOUT,
        )


def is_forbidden() -> bool:
    """Whether the environment forbids to ask the hub."""
    return _is_true("HF_HUB_OFFLINE") or _is_true("TRANSFORMERS_OFFLINE")


def hub_endpoint() -> str:
    """The hub's address."""
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def reaches(endpoint: str) -> bool:
    """Whether a connection to the hub, or to the proxy before it, can be made within seconds."""
    host, port = _first_hop(endpoint)
    # A thread, since looking a name up cannot be given a time limit.
    reached: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=_REACH_SECONDS).close()
            reached.append(True)
        except OSError:
            pass

    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(_REACH_SECONDS + 0.5)
    return bool(reached)


def _first_hop(endpoint: str) -> tuple[str, int]:
    """Host and port that a request to `endpoint` connects to: its own, or those of a proxy."""
    target = urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
        target = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    default = 443 if target.scheme == "https" else 1080 if "socks" in target.scheme else 80
    return target.hostname or "", target.port or default


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
            "Try again: what was fetched is kept.",
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
        hint = "It holds an adapter: merge it into its base model first."
    else:
        hint = "Choose a model for transformers."
    return DepthError(f"{model_id} on the hub is no model: it has no config.json.", hint)


def _no_safetensors(model_id: str, sizes: dict[str, int], missing: list[str]) -> DepthError:
    if WEIGHTS_INDEX not in sizes and any(name.endswith((".bin", ".pt")) for name in sizes):
        return DepthError(
            f"{model_id} has its weights only as a pickle, "
            "and opening a pickle can run any program hidden in it.",
            "Look on the hub for a revision or a copy with safetensors, and name it.",
        )
    return DepthError(f"{model_id} on the hub lacks {missing[0]}.", "Choose another copy of it.")


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE")
