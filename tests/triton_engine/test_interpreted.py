"""A handful of the kernels' tests in Triton's interpreter, which is chosen for a whole process: in one of their own."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HANDFUL = "test_kernels_agree_with_the_reference and lstm and True or test_what_has_no_kernel or test_an_elman_network"


@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton: make test-triton installs it")
def test_a_handful_of_kernels():
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, str(Path(__file__).with_name("test_kernels.py")), "-k", HANDFUL],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout[-2000:]
    assert " passed" in found.stdout
