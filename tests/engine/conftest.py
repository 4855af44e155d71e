"""A tiny model on disk, and an engine that has it loaded."""

import pytest

from depthtui.data.run_settings import ModelSpec
from depthtui.data.store import open_store
from depthtui.engine.engine import Engine
from depthtui.prompts.tasks import baseline_texts
from tests.tiny_models import tiny_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture
def events():
    return []


@pytest.fixture
def engine(folder, tmp_path, events):
    store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    made = Engine(store, tmp_path / "models", events.append, baseline_texts=baseline_texts)
    made.load(ModelSpec(str(folder), device="cpu"))
    return made
