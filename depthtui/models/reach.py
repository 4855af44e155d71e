"""Whether a model is available: on this disk, or on a hub that answers.

Checked before anything heavy is imported: nothing here may import torch, transformers or
huggingface_hub.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import urllib.request
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError, did_you_mean, short_repr
from depthtui.models.adapter_files import adapter_on_disk
from depthtui.models.catalog import complete_snapshot, on_disk, resolve

_REACH_SECONDS = 1.0
"""Time limit of the hub's answer where `HF_HUB_ETAG_TIMEOUT` is not set."""

_GATEWAY_ERRORS = (b"502", b"503", b"504")
"""Status codes of a proxy that cannot reach the hub."""

_ALIKE = 0.75
"""Least similarity, up to 1, of names that may be confused; difflib's ratio."""

HOW_TO_DO_WITHOUT = (
    "Check the network, HF_ENDPOINT and proxies (HF_HUB_ETAG_TIMEOUT=10 waits longer); "
    "or open `demo`, a local folder or a GGUF file."
)


def check_can_open(spec: ModelSpec, models_dir: Path, with_code: bool = False) -> None:
    """Check that a model can be opened, as far as possible without opening it.

    Args:
        spec: the model.
        models_dir: the folder of converted models.
        with_code: whether the Python code that it brings must be here too.

    Raises:
        DepthError: its name means no model, or it is not on this disk and the hub does not answer;
            or the same of its adapter.
    """
    if spec.adapter:
        _check_adapter_can_open(spec.adapter)
    source = resolve(spec, models_dir)
    if source.kind != "hub":
        return
    if complete_snapshot(source.location, source.revision, with_code) is not None:
        return
    try:
        check_reachable(source.location)
    except DepthError as error:
        hint = f"{_perhaps_meant(source.location, models_dir)} {error.hint}".lstrip()
        raise DepthError(error.message, hint) from error


def _check_adapter_can_open(name: str) -> None:
    if adapter_on_disk(name) is None:
        check_reachable(name.strip())


def _perhaps_meant(name: str, models_dir: Path) -> str:
    """A question with the most similar name of a model on this disk; empty without one."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = [listing.name for listing in on_disk(models_dir)]
    return did_you_mean(name, names, most=1, likeness=_ALIKE).lstrip()


def check_reachable(model_id: str) -> None:
    """Check that the hub answers, for a model that is not on this disk.

    Raises:
        DepthError: it does not answer, or the environment forbids requests to it.
    """
    if is_forbidden():
        raise DepthError(
            f"{model_id} is not complete in the hub cache, and HF_HUB_OFFLINE forbids to fetch it.",
            "Unset HF_HUB_OFFLINE, or open a local folder.",
        )
    endpoint = hub_endpoint()
    if not reaches(endpoint):
        raise DepthError(
            f"The Hugging Face hub cannot be reached ({first_hop(endpoint)[0]}), and {model_id} "
            "is not on this disk.",
            HOW_TO_DO_WITHOUT,
        )


def is_forbidden() -> bool:
    """Whether the environment forbids requests to the hub."""
    return _is_true("HF_HUB_OFFLINE") or _is_true("TRANSFORMERS_OFFLINE")


def hub_endpoint() -> str:
    """The hub's address.

    Raises:
        DepthError: `HF_ENDPOINT` is not an address.
    """
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    try:
        target = urlsplit(endpoint)
        is_address = target.scheme in ("http", "https") and target.hostname and target.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise DepthError(
            f"HF_ENDPOINT is no address: {short_repr(endpoint)}.",
            "Unset it, or give one such as https://huggingface.co.",
        )
    return endpoint


def reaches(endpoint: str) -> bool:
    """Whether the hub, or the proxy before it, answers in time."""
    seconds = _patience()
    # In a thread, since looking up a name cannot have a time limit.
    answers: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(OSError):
            answers.append(_answers(endpoint, seconds))

    attempt = threading.Thread(target=ask, daemon=True)
    attempt.start()
    attempt.join(seconds)
    return any(answers)


def _patience() -> float:
    try:
        return float(os.environ.get("HF_HUB_ETAG_TIMEOUT", "")) or _REACH_SECONDS
    except ValueError:
        return _REACH_SECONDS


def _answers(endpoint: str, seconds: float) -> bool:
    """Whether a first byte comes back; an address that accepts a connection may still not answer.

    Raises:
        OSError: no connection can be made, or it breaks.
    """
    target, proxy = urlsplit(endpoint), _proxy(endpoint)
    next_hop = proxy or target
    with socket.create_connection(first_hop(endpoint), timeout=seconds) as connection:
        if "socks" in next_hop.scheme:
            return True
        if next_hop.scheme == "https":
            return _shakes_hands(connection, next_hop.hostname)
        if proxy is not None and target.scheme == "https":
            address = f"{target.hostname}:{_port(target)}"
            answer = _answer_to(connection, f"CONNECT {address} HTTP/1.1", address)
            return answer != b"" and answer[9:12] not in _GATEWAY_ERRORS
        location = f"{endpoint}/" if proxy is not None else f"{target.path}/"
        return _answer_to(connection, f"HEAD {location} HTTP/1.1", target.netloc) != b""


def _shakes_hands(connection: socket.socket, hostname: str | None) -> bool:
    # No data is sent; the server's identity is checked when something is fetched.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLError):
        context.wrap_socket(connection, server_hostname=hostname).close()
    return True


def _answer_to(connection: socket.socket, request: str, host: str) -> bytes:
    """The beginning of the answer, with the status; empty where the other end hangs up."""
    connection.sendall(f"{request}\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    return connection.recv(32)


def first_hop(endpoint: str) -> tuple[str, int]:
    """Host and port that a request to `endpoint` connects to: the endpoint's, or a proxy's."""
    target = _proxy(endpoint) or urlsplit(endpoint)
    return target.hostname or "", _port(target)


def _proxy(endpoint: str) -> SplitResult | None:
    """The proxy that the environment sets for an address, or None."""
    target = urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(target.hostname or ""):
        return None
    return urlsplit(proxy if "//" in proxy else f"http://{proxy}")


def _port(target: SplitResult) -> int:
    default = 443 if target.scheme == "https" else 1080 if "socks" in target.scheme else 80
    return target.port or default


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE")
