"""What a server leaves behind and gives back: files of results, memory.

No other server may run in this process, because each gives memory back at its own time.
"""

import os
import subprocess
import sys
import tempfile
import time

import pytest
from hrkit_web.files.results import ResultStore


def test_what_a_killed_server_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = ResultStore(most=1, seconds=10)
    code = """if True:
        import os, signal, sys, tempfile
        from hrkit_web.files.results import ResultStore
        tempfile.tempdir = sys.argv[1]
        (ResultStore(most=1, seconds=10).root / "poses.csv").write_text("x")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, timeout=60)
    (tmp_path / "hrkit-web-link").symlink_to(living.root)
    (tmp_path / "other").mkdir()
    assert len(list(tmp_path.glob("hrkit-web-*"))) == 3
    ResultStore(most=1, seconds=10).close()
    assert set(os.listdir(tmp_path)) == {living.root.name, f".{living.root.name}.lock", "hrkit-web-link", "other"}
    living.close()
    assert set(os.listdir(tmp_path)) == {"hrkit-web-link", "other"}


@pytest.mark.slow
def test_memory_of_photos_is_returned(serve, encoded, painted, monkeypatch, poll):
    returned = []
    monkeypatch.setattr("hrkit_web.services.SWEEP_SECONDS", 0.02)
    monkeypatch.setattr("hrkit_web.services.return_freed_memory", lambda: returned.append(site.services.memory.taken))
    with serve() as site:
        for count in (1, 2):
            assert site.send("/v1/poses", "image", encoded(painted()[0])).status == 200
            poll(lambda count=count: len(returned) == count)
            time.sleep(0.1)
    assert returned == [0, 0]
