"""Freed memory is kept if the command line asks for it, and user settings win."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from hrkit import cli

FAULTS = """
import resource, sys
import torch
from hrkit.runtimes.allocator import keep_freed_memory

if "keep" in sys.argv and not keep_freed_memory():
    sys.exit(77)
layers = torch.nn.Sequential(*(torch.nn.Conv2d(64, 64, 1) for _ in range(4)))
with torch.inference_mode():
    for _ in range(12):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        layers(torch.zeros(1, 64, 400, 400))
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


def _faults(*arguments: str, **environment: str) -> int:
    """How often the kernel had to clear a page in the last of some passes, with 41 MB a layer."""
    process = subprocess.run(
        [sys.executable, "-c", FAULTS, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )
    if process.returncode == 77:
        pytest.skip("not glibc, or its parameters are set")
    assert process.returncode == 0, process.stderr
    return int(process.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_the_memory_of_a_freed_tensor_is_taken_again() -> None:
    kept = _faults("keep")
    assert kept < 0.1 * _faults()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_what_the_user_set_stays() -> None:
    code = "from hrkit.runtimes.allocator import keep_freed_memory; print(keep_freed_memory())"
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "131072"}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert process.stdout.strip() == "False"


@pytest.mark.slow
def test_the_command_line_asks_for_it_and_the_library_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(cli, "keep_freed_memory", lambda: asked.append(True))
    assert CliRunner().invoke(cli.main, ["plugins", "--help"]).exit_code == 0
    assert asked == [True]
    code = "import hrkit, sys; hrkit.create_pose_model('synthetic'); print('hrkit.runtimes.allocator' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
def test_kept_memory_can_be_returned() -> None:
    code = """if True:
        import sys
        from hrkit.runtimes.allocator import keep_freed_memory, return_freed_memory

        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * 4096

        if not keep_freed_memory():
            sys.exit(77)
        before = resident()
        blocks = [bytearray(1_000_000) for _ in range(200)]
        del blocks
        kept = resident()
        return_freed_memory()
        print((kept - before) // 1_000_000, (resident() - before) // 1_000_000)
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    if process.returncode == 77:
        pytest.skip("not glibc, or its parameters are set")
    kept, left = map(int, process.stdout.split())
    assert kept >= 200 > 10 >= left
