"""Texts that people write: prompts typed and in files, settings, plans."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hypothesis import strategies as st

from depthtui.data.codec import decode, encode
from depthtui.data.protocol import StartRun
from depthtui.data.run import Prompt
from depthtui.data.run_settings import Drawing, RunSettings, Writing
from depthtui.engine.tokens import Vocabulary, tokenise
from depthtui.errors import DepthError
from depthtui.prompts.datasets import read_dataset
from depthtui.prompts.prompt_files import read_prompts
from depthtui.settings import load_settings, save_settings
from depthtui.sweep.plan import SweepPlan, check_plan, with_absolute_paths
from depthtui.sweep.plan_file import __doc__ as plan_example
from depthtui.sweep.plan_file import read_plan
from depthtui.token_text import printable, printable_line
from tests.fuzz.fuzzing import examples, fuzz, mutated, with_each_piece
from tests.hostile import HOSTILE
from tests.test_settings import EVERYTHING
from tests.tiny_models import tiny_tokenizer


@examples
def test_the_prompt_box(count: int) -> None:
    tokenizer = tiny_tokenizer()
    vocabulary = Vocabulary(tokenizer)
    texts = st.text(st.characters(exclude_categories=()), max_size=200)

    def ask(text: str) -> None:
        prompt = Prompt(text)
        command = StartRun(1, prompt, RunSettings())
        assert decode(encode(command)) == command
        for chat_template in (False, True):
            with suppress(DepthError):
                tokens = tokenise(tokenizer, prompt, chat_template, vocabulary)
                assert len(tokens.ids) == len(tokens.texts)
                assert all(printable(token).isprintable() for token in tokens.texts)
        line = printable_line(text)
        line.encode()
        assert "\n" not in line

    fuzz(ask, texts | st.sampled_from([*HOSTILE.values()]), count)


@examples
def test_prompt_files(count: int, home: Path) -> None:
    original = b'{"text": "2 + 2 = 4", "answer": "4", "task": "sums", "level": 3}\n{"text": "x"}\n'
    rows = b'[{"ctx": "a b", "endings": ["c", "d"], "label": "1"}]'

    def read(data: bytes) -> None:
        for name in ("prompt.txt", "prompts.jsonl"):
            (home / name).write_bytes(data)
            with suppress(DepthError):
                assert all(prompt.text for prompt in read_prompts(home / name))
        with suppress(DepthError):
            read_dataset("hellaswag", home / "prompts.jsonl", 1)

    fuzz(read, mutated([original, rows]), count, with_each_piece(original))


@examples
def test_settings_files(count: int, home: Path) -> None:
    path = save_settings(EVERYTHING)
    originals = [path.read_bytes(), b"[mine]\nx = 0xff\ny = [1, 2]\nz = 1979-05-27\n"]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(DepthError):
            found = load_settings(on_notice=lambda notice: notice.encode())
            save_settings(found)
            assert load_settings() == found

    fuzz(read, mutated(originals), count, with_each_piece(originals[0]))


@examples
def test_plans(count: int, home: Path) -> None:
    _, _, example = (plan_example or "").partition("\n\n")
    more = (
        b'top_k = 3\nseed = 1\nsample = true\n[[task]]\nname = "facts"\nlevel = ["1", 2, "1-2"]\n'
    )

    def read(data: bytes) -> None:
        (home / "plan.toml").write_bytes(data)
        with suppress(DepthError):
            plan = read_plan(home / "plan.toml", SweepPlan((), ()), Drawing(), Writing())
            assert check_plan(with_absolute_paths(plan)).cells

    originals = [example.encode(), more + example.encode()]
    fuzz(read, mutated(originals), count, with_each_piece(originals[1]))
