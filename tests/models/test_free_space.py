"""Free memory, in a container and out of one."""

import psutil
import pytest
import torch

from depthtui.engine import memory
from depthtui.models import free_space

LIMIT, USED, CACHED = 3_000_000, 2_900_000, 2_400_000


@pytest.fixture
def container(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text(f"{LIMIT}\n")
    (tmp_path / "memory.current").write_text(f"{USED}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {CACHED}\nactive_file 9\n")
    place = (str(tmp_path), "memory.max", "memory.current", "inactive_file")
    monkeypatch.setattr(free_space, "_CONTAINERS", (place,))
    return tmp_path


def test_files_that_were_read_leave_a_container_its_room(container):
    assert free_space.free_memory() == LIMIT - USED + CACHED
    assert memory.available(torch.device("cpu")) == LIMIT - USED + CACHED


@pytest.mark.parametrize("limit", ["max", ""])
def test_without_a_limit_the_machine_decides(container, limit):
    (container / "memory.max").write_text(limit)
    assert free_space.free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
