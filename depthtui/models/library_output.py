"""Keeps libraries from writing to the terminal."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# The libraries read both on import.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def silence_libraries() -> None:
    """Switch off progress bars and warnings of transformers and of the libraries that it uses."""
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    disable_progress_bars()
    for logger in ("accelerate", "bitsandbytes"):
        # bitsandbytes warns at every call of every layer that it converts the layer's input.
        logging.getLogger(logger).setLevel(logging.ERROR)
    modules = ("transformers", "huggingface_hub", "accelerate", "torch", "bitsandbytes", "triton")
    for module in modules:
        warnings.filterwarnings("ignore", module=module)


@contextmanager
def libraries_silenced() -> Iterator[None]:
    """Silence the libraries for a while, then restore their verbosity."""
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    hub_verbosity = hub_logging.get_verbosity()
    had_bars = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    with warnings.catch_warnings():
        try:
            silence_libraries()
            yield
        finally:
            logging.set_verbosity(verbosity)
            hub_logging.set_verbosity(hub_verbosity)
            if had_bars[0]:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
            if had_bars[1]:
                enable_progress_bars()
