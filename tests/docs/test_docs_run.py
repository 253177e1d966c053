"""The code blocks, the example server and the notebook of the documentation run, and its pictures are current."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import threading
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from documented import DOCS, PHOTO, RUN, blocks, load_script, name_of
from hrkit.cli import main
from hrkit.images import read_image
from hrkit.skeletons import get_skeleton
from made_videos import make_video

pytest.importorskip("hrkit_lite", reason="the documentation uses the networks of hrkit-lite")


@pytest.fixture
def desk(tmp_path: Path, painted_coco: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that pages name, in which their blocks run."""
    folders = [f"{folder}/one.jpg" for folder in ("my_folder", "holiday", "wedding", "frames")]
    for name in ("photo.jpg", "group.jpg", "my_photo.jpg", "hrkit/assets/oath.jpg", *folders):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PHOTO, tmp_path / name)
    (tmp_path / "photos").mkdir()
    for name in "abc":
        shutil.copy(PHOTO, tmp_path / "photos" / f"{name}.jpg")
    frame = read_image(PHOTO)[:480, :640]
    pictures = [np.ascontiguousarray(np.roll(frame, 3 * number, axis=1)) for number in range(2)]
    for name in ("street.mp4", "monday.mp4", "tuesday.mp4", "my_video.mp4"):
        make_video(tmp_path / name, images=pictures)
    (tmp_path / "notes.txt").write_text("no picture")
    shutil.copytree(tmp_path / "photos", tmp_path / "archive")
    (tmp_path / "list.txt").write_text("photos/a.jpg\nstreet.mp4\n")
    shutil.copytree(painted_coco, tmp_path / "data" / "coco")
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUNNABLE = [
    page for page in RUN if any(block.language in ("python", "sh") and block.reason is None for block in blocks(page))
]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_blocks_run(page: Path, desk: Path) -> None:
    """The blocks of a page run in order and share their names, except those marked `<!-- not run: REASON -->`.

    In shell blocks, the lines that call hrkit are run; training ends after two steps. TOML blocks with a file name are
    written before.
    """
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page):
        if block.language == "toml" and block.file:
            (desk / block.file).parent.mkdir(parents=True, exist_ok=True)
            (desk / block.file).write_text(block.content)
    for block in blocks(page):
        if block.language == "python" and block.reason is None:
            exec(compile(block.content, f"{page.name}: {block.content[:40]!r}", "exec"), names)
        for command in block.commands() if block.reason is None else ():
            short = ("--max-steps", "2") if command.words[0] == "train" else ()
            result = CliRunner(env=command.environment).invoke(main, [*command.words, *short])
            assert result.exit_code == 0, f"hrkit {' '.join(command.words)}: {result.output}"


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "desk")
def test_the_server_of_the_deployment_page_answers() -> None:
    (block,) = [block for block in blocks(DOCS / "deployment.md") if block.file == "server.py"]
    names: dict[str, Any] = {"__name__": "server"}
    exec(compile(block.content, "server.py", "exec"), names)
    names["Handler"].log_message = lambda *arguments: None
    with ThreadingHTTPServer(("127.0.0.1", 0), names["Handler"]) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/"
            assert _ask(address) == (200, {"status": "ok"})
            status, people = _ask(address, PHOTO.read_bytes())
            assert status == 200
            assert len(people) == 2
            assert set(people[0]["keypoints"]) == set(get_skeleton("coco17").keypoint_names)
            for body in (b"no picture", PHOTO.read_bytes()[:5000], _blank(6000), _blank(20_000)):
                status, answer = _ask(address, body)
                assert (status, list(answer)) == (400, ["error"])
            for length, status in ((str(names["LARGEST"] + 1), 413), ("-1", 413), ("many", 400)):
                assert _answer_to_length(server.server_port, length) == status
        finally:
            server.shutdown()
            thread.join()


def _blank(side: int) -> bytes:
    """A png with many pixels and few bytes."""
    encoded = io.BytesIO()
    PIL.Image.new("1", (side, side)).save(encoded, "PNG")
    return encoded.getvalue()


def _answer_to_length(port: int, length: str) -> int:
    """The status of the answer to a request that announces a length and sends nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def _ask(address: str, body: bytes | None = None) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(address, data=body, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "desk")
def test_the_notebook_runs() -> None:
    shells = pytest.importorskip("IPython.core.interactiveshell", reason="needs IPython")
    notebook = json.loads((DOCS / "notebooks" / "first-steps.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    shell = shells.InteractiveShell()
    shell.history_manager.enabled = False
    results = []
    for cell in cells:
        result = shell.run_cell("".join(cell["source"]), store_history=False)
        result.raise_error()
        results.append(result.result)
    assert len(results[0]) == 2
    assert isinstance(results[1], PIL.Image.Image)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_pictures_are_what_hrkit_draws(tmp_path: Path) -> None:
    committed = [path for path in DOCS.glob("images/*") if path.name != "cases.jpg"]  # that is of hrkit-lite's tools
    assert sum(path.stat().st_size for path in committed) < 300_000
    made = load_script("make_pictures").make_pictures(tmp_path)
    assert {path.name for path in made} == {path.name for path in committed if path.suffix == ".jpg"}
    for path in made:
        new, old = (read_image(folder / path.name).astype(float) for folder in (tmp_path, DOCS / "images"))
        assert new.shape == old.shape
        assert np.abs(new - old).mean() < 2, f"{path.name} is not what hrkit draws; run python docs/make_pictures.py"


