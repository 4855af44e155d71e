"""Threads that wait for each other, which torch decides on as it is loaded."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["depthtui.cli", "depthtui.api", "depthtui.service.worker"])
def test_they_sleep_before_torch_is_loaded(module: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    asked = (
        f"import {module}, depthtui.models, os, sys;"
        "print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    )
    command = [sys.executable, "-c", asked]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "0"]
