import errno
import hashlib
import io
import multiprocessing
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from filelock import FileLock

from hrkit.errors import DownloadError
from hrkit.weights import downloads
from hrkit.weights.downloads import download

CONTENT = bytes(range(256)) * 4096  # 1 MiB, several reads
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SHA1 = hashlib.sha1(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at every address, as badly as its attributes say."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.content_type = "application/octet-stream"
        self.supports_ranges = True
        self.shift_ranges = 0
        self.status: int | None = None
        self.send_length = True
        self.wrong_length: str | None = None
        self.cuts: list[int] = []  # how many bytes the first, second, ... answer gives before it breaks off
        self.hold: threading.Event | None = None  # half an answer, then nothing until the event
        self.half_sent = threading.Event()
        self.ranges: list[str | None] = []  # of the requests that came
        self.url = f"http://127.0.0.1:{self.server_port}/weights.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        body, total = server.content, len(server.content)
        if server.status is not None:
            self.send_error(server.status)
            return
        if asked and server.supports_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start += server.shift_ranges
            body = body[start:]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", server.content_type)
        if server.send_length:
            self.send_header("Content-Length", server.wrong_length or str(len(body)))
        self.end_headers()
        if server.cuts:
            self.wfile.write(body[: server.cuts.pop(0)])
        elif server.hold is not None:
            self.wfile.write(body[: len(body) // 2])
            server.half_sent.set()
            server.hold.wait(60)
        else:
            self.wfile.write(body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        if server.hold is not None:
            server.hold.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "weights.pth"


def part_of(target: Path) -> Path:
    return target.with_name("weights.pth.part")


def write_part(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(content)


@pytest.mark.parametrize(
    "checksum",
    [None, f"sha256:{SHA256}", f"sha256:{SHA256[:8]}", f"sha256:{SHA256[:8].upper()}", f"sha1:{SHA1}"],
)
def test_downloads_once(server, target, checksum):
    for _ in range(2):
        assert download(server.url, target, checksum=checksum, size=len(CONTENT), progress=False) == target
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None]
    assert not part_of(target).exists()


def test_without_content_length(server, target):
    server.send_length = False
    download(server.url, target, checksum=f"sha256:{SHA256}", progress=False)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["abc", "-1", "1e6"])
def test_a_content_length_that_is_no_number(server, target, length):
    server.wrong_length = length
    download(server.url, target, checksum=f"sha256:{SHA256}", progress=False)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("send_length", [False, True])
def test_a_server_that_sends_more_is_stopped(server, target, monkeypatch, send_length):
    monkeypatch.setattr(downloads, "_CHUNK", 1000)
    server.send_length = send_length
    with pytest.raises(DownloadError, match="instead of 2,500 and was removed") as error:
        download(server.url, target, size=2500, progress=False)
    got = int(str(error.value).split(" has ")[1].split(" bytes")[0].replace(",", ""))
    assert 2500 < got <= 3500
    assert not target.exists()
    assert not part_of(target).exists()


def test_bar_is_on_stderr(server, target, capsys):
    download(server.url, target)
    out, err = capsys.readouterr()
    assert "weights.pth" in err
    assert out == ""


def test_no_bar(server, target, capsys):
    download(server.url, target, progress=False)
    assert capsys.readouterr() == ("", "")


def test_resumes_a_part(server, target):
    write_part(target, CONTENT[:1000])
    download(server.url, target, checksum=f"sha256:{SHA256}", progress=False)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_goes_on_where_the_connection_was_cut(server, target):
    server.cuts = [300_000, 500_000]
    download(server.url, target, checksum=f"sha256:{SHA256}", progress=False)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=800000-"]


def test_a_server_that_gives_nothing_more_is_an_error_and_the_part_stays(server, target):
    server.cuts = [300_000, 0]
    with pytest.raises(DownloadError, match="cut"):
        download(server.url, target, progress=False)
    assert part_of(target).read_bytes() == CONTENT[:300_000]
    assert not target.exists()


def test_starts_over_where_ranges_are_ignored(server, target):
    server.supports_ranges = False
    write_part(target, b"x" * 1000)
    download(server.url, target, checksum=f"sha256:{SHA256}", progress=False)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_another_range_than_asked_for(server, target):
    server.shift_ranges = 1
    write_part(target, CONTENT[:1000])
    with pytest.raises(DownloadError, match="another part"):
        download(server.url, target, progress=False)
    assert not part_of(target).exists()


def test_a_whole_part_is_taken(server, target):
    write_part(target, CONTENT)
    download(server.url, target, checksum=f"sha256:{SHA256}", progress=False)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]  # answered by 416


def test_a_whole_part_of_known_size_needs_no_request(server, target):
    write_part(target, CONTENT)
    download(server.url, target, size=len(CONTENT), progress=False)
    assert target.read_bytes() == CONTENT
    assert server.ranges == []


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_part_that_is_too_long_is_thrown_away(server, target, size):
    write_part(target, CONTENT + b"more")
    download(server.url, target, size=size, progress=False)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("published", [{"checksum": "sha256:00000000"}, {"size": 17}])
def test_a_wrong_download_is_removed(server, target, published):
    with pytest.raises(DownloadError, match=r"instead of.*removed") as error:
        download(server.url, target, progress=False, **published)
    assert "\n" not in str(error.value)
    assert str(target) in str(error.value)
    assert not target.exists()
    assert not part_of(target).exists()


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_no_file(server, target, content_type):
    server.content, server.content_type = b"\n<!DOCTYPE html><html>Quota exceeded</html>", content_type
    with pytest.raises(DownloadError, match="web page"):
        download(server.url, target, progress=False)
    assert not target.exists()
    assert not part_of(target).exists()


@pytest.mark.parametrize("status", [404, 416, 503])
def test_http_errors(server, target, status):
    server.status = status
    with pytest.raises(DownloadError, match=str(status)) as error:
        download(server.url, target, progress=False)
    assert server.url in str(error.value)
    assert str(target) in str(error.value)


def test_no_network(server, target):
    with Server() as closed:
        url = closed.url
    with pytest.raises(DownloadError, match="hrkit-lite") as error:
        download(url, target, progress=False)
    message = str(error.value)
    assert "Pipeline.from_names('lite', 'lite_person')" in message
    assert url in message
    assert str(target) in message
    assert "\n" not in message


@pytest.mark.parametrize("url", ["file:///weights.pth", "ftp://example.org/weights.pth", "weights.pth"])
def test_other_schemes_are_refused(target, url):
    with pytest.raises(DownloadError, match="http"):
        download(url, target)


def test_https_may_not_lead_to_http(target, monkeypatch):
    response = MagicMock(url="http://example.org/weights.pth")
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: response)
    with pytest.raises(DownloadError, match="unsafe"):
        download("https://example.org/weights.pth", target)


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DownloadError, match="HRKIT_HOME") as error:
        download(server.url, tmp_path / "cache" / "weights.pth", progress=False)
    assert server.url in str(error.value)
    assert "\n" not in str(error.value)


def test_full_disk(server, target, monkeypatch):
    class FullDisk(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r": FullDisk() if mode == "wb" else real(self, mode))
    with pytest.raises(DownloadError, match="make room") as error:
        download(server.url, target, progress=False)
    assert server.url in str(error.value)
    assert str(target) in str(error.value)


def test_a_file_put_there_by_hand_is_checked_once(server, target, monkeypatch):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    digest = MagicMock(wraps=downloads.digest)
    monkeypatch.setattr(downloads, "digest", digest)
    for _ in range(2):
        assert download(server.url, target, checksum=f"sha256:{SHA256}") == target
    assert digest.call_count == 1
    assert server.ranges == []


@pytest.mark.parametrize("by_hand", [CONTENT[:-1], b"x" * len(CONTENT), b"<html>"])
def test_a_wrong_file_put_there_by_hand_is_an_error_and_stays(server, target, by_hand):
    target.parent.mkdir()
    target.write_bytes(by_hand)
    for _ in range(2):
        with pytest.raises(DownloadError, match="remove it"):
            download(server.url, target, checksum=f"sha256:{SHA256[:8]}", size=len(CONTENT))
    assert target.read_bytes() == by_hand
    assert server.ranges == []


def test_a_file_that_was_changed_is_checked_again(server, target):
    download(server.url, target, checksum=f"sha256:{SHA256}", progress=False)
    target.write_bytes(CONTENT + b"more")
    with pytest.raises(DownloadError, match="remove it"):
        download(server.url, target, checksum=f"sha256:{SHA256}", progress=False)


def test_a_read_only_cache_with_the_file_works(server, target, monkeypatch):
    target.parent.mkdir()
    target.write_bytes(CONTENT)

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    for name in ("write_text", "mkdir"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(downloads, "FileLock", refuse)
    assert download(server.url, target, checksum=f"sha256:{SHA256}") == target


@pytest.mark.slow
def test_two_processes_download_once(server, target):
    spawn = multiprocessing.get_context("spawn")
    published = {"checksum": f"sha256:{SHA256}", "progress": False}
    processes = [spawn.Process(target=download, args=(server.url, target), kwargs=published) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None]


def downloading_process(url: str, target: Path) -> subprocess.Popen[str]:
    code = "import sys; from hrkit.weights.downloads import download; download(sys.argv[1], sys.argv[2])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, url, str(target)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_a_second_process_waits_and_finds_the_file(server, target):
    target.parent.mkdir()
    with FileLock(target.with_name("weights.pth.lock")):
        process = downloading_process(server.url, target)
        assert process.stderr is not None
        assert "waiting for another process" in process.stderr.readline()
        target.write_bytes(CONTENT)
    process.communicate()
    assert process.returncode == 0
    assert server.ranges == []


@pytest.mark.slow
def test_a_killed_process_leaves_no_lock(server, target):
    server.hold = threading.Event()
    process = downloading_process(server.url, target)
    assert server.half_sent.wait(60)
    process.kill()
    process.communicate()
    server.hold.set()
    server.hold = None
    download(server.url, target, checksum=f"sha256:{SHA256}", progress=False)
    assert target.read_bytes() == CONTENT
