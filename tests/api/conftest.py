"""A loaded model and its tokenizer, as somebody has them in a notebook."""

import zlib

import pytest

from tests.tiny_models import draw_weights, fresh, tiny_tokenizer


@pytest.fixture(autouse=True)
def no_files_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPTHTUI_CONFIG", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("DEPTHTUI_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """A new model of an architecture, whose vocabulary is the tokenizer's."""

    def make(name="llama"):
        model = fresh(name)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        draw_weights(model, seed=zlib.crc32(name.encode()))
        return model

    return make
