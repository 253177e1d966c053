"""Hostile input is refused and leaves nothing behind."""

import asyncio
import io
import os
import socket
import struct
import subprocess
import sys
import time
import zipfile
import zlib

import numpy as np
import PIL.Image
import pytest
from hrkit_web.errors import RefusedError
from hrkit_web.files.images import FORMATS, PIXEL_BYTES, decode, open_photo
from hypothesis import given
from hypothesis import strategies as st

PIXELS = 1_000_000

FORM = "multipart/form-data; boundary=b"

FILE = b'--b\r\nContent-Disposition: form-data; name="image"; filename="NAME"\r\n\r\nx\r\n--b--\r\n'
"""The body of a form."""


def png_of(width, height):
    """A PNG whose header promises many zero pixels: a few kilobytes that decode to gigabytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def moving(format):
    file = io.BytesIO()
    frames = [PIL.Image.new("RGB", (16, 16), (index, 90, 0)) for index in range(0, 250, 50)]
    frames[0].save(file, format, save_all=True, append_images=frames[1:])
    return file.getvalue()


def many_scans(encoded):
    return scans_of(encoded(np.zeros((16, 16, 3), np.uint8), "JPEG", progressive=True))


def scans_of(data):
    """A progressive JPEG with the last scan of its first picture repeated 200 times."""
    end = data.index(b"\xff\xd9", data.index(b"\xff\xda"))
    at = data.rindex(b"\xff\xda", 0, end)
    return data[:at] + data[at:end] * 200 + data[end:]


def without_length(data):
    """Starts with a restart marker, which has no length, and a comment whose length is 0."""
    return data[:2] + b"\xff\xd0\xff\xfe\x00\x00" + data[2:]


def many_segments(encoded):
    data = encoded(np.zeros((16, 16, 3), np.uint8), "JPEG")
    return data[:2] + b"\xff\xfe\x00\x04\xff\xda" * 3000 + data[2:]


def two_pictures(frame, **options):
    """A JPEG with a second, larger picture behind the first, as phones make them."""
    file = io.BytesIO()
    first, second = PIL.Image.fromarray(frame[:, :, ::-1]), PIL.Image.new("RGB", (640, 480))
    first.save(file, "MPO", save_all=True, append_images=[second], **options)
    assert PIL.Image.open(file).n_frames == 2
    return file.getvalue()


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(1_000_000))
    return file.getvalue()


SVG = b"""<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>&a;</text></svg>"""


@pytest.fixture(scope="module")
def site(serve):
    with serve(photo_pixels=PIXELS, video_pixels=10_000, photo_bytes=200_000, video_bytes=300_000) as one:
        yield one


def hostile_photos(encoded):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    jpeg = encoded(noise, "JPEG")
    return {
        "a bomb": (png_of(30_000, 30_000), 413),
        "a small bomb": (png_of(1001, 1000), 413),
        "a truncated JPEG": (jpeg[: len(jpeg) // 2], 422),
        "a truncated PNG": (encoded(noise)[:200], 422),
        "many scans": (many_scans(encoded), 422),
        "many scans and two pictures": (scans_of(two_pictures(noise, progressive=True)), 422),
        "many scans behind a segment without a length": (without_length(many_scans(encoded)), 422),
        "many segments, which may hide scans": (many_segments(encoded), 422),
        "a zip": (zipped(), 415),
        "a zip that begins like a PNG": (b"\x89PNG\r\n\x1a\n" + zipped(), 415),
        "an animated GIF": (moving("GIF"), 415),
        "an animated WebP": (moving("WEBP"), 422),
        "an SVG": (SVG, 415),
        "nothing": (b"", 415),
        "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415),
    }


def test_photos(site, encoded, painted):
    for what, (data, status) in hostile_photos(encoded).items():
        answer = site.send("/v1/poses", "image", data)
        assert answer.status == status, what
        assert isinstance(answer.json()["detail"], str), what
    assert site.send("/v1/poses", "image", encoded(painted()[0])).status == 200
    assert site.services.memory.taken == 0


def test_the_first_picture_of_a_jpeg_is_taken(site, painted):
    answer = site.send("/v1/poses", "image", two_pictures(painted()[0], quality=95))
    assert (answer.status, answer.json()["width"], len(answer.json()["people"])) == (200, 320, 2)


def test_bytes_that_look_like_scans_do_not_count(site, encoded, painted):
    jpeg, scans = encoded(painted()[0], "JPEG", quality=95), b"\xff\xda" * 1000
    inside = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(scans)) + scans + jpeg[2:]
    for data in (jpeg + scans, inside, inside + scans):
        answer = site.send("/v1/poses", "image", data)
        assert (answer.status, len(answer.json()["people"])) == (200, 2)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")
@pytest.mark.parametrize(("format", "mode"), [("WEBP", "RGB"), ("PNG", "RGB"), ("PNG", "I;16"), ("JPEG", "RGB")])
def test_decoding_needs_no_more_memory_than_is_counted(tmp_path, format, mode):
    pixels = 2000 * 2000
    PIL.Image.new(mode, (2000, 2000)).save(tmp_path / "a", format)
    code = """if True:
        import io, re, sys
        from hrkit_web.files.images import decode, open_photo
        def peak():
            return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
        data = open(sys.argv[1], "rb").read()
        before = peak()
        frame = decode(open_photo(io.BytesIO(data), 4_000_000))
        print(peak() - before)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a"], env=environment, stdout=subprocess.PIPE, check=True, timeout=60
    )
    assert 3 * pixels < int(said.stdout) < PIXEL_BYTES * pixels + 5_000_000  # includes code that is loaded


def test_a_zip_behind_a_picture_is_ignored(site, encoded, painted):
    answer = site.send("/v1/poses", "image", encoded(painted()[0]) + zipped())
    assert (answer.status, len(answer.json()["people"])) == (200, 2)


@pytest.mark.slow
def test_names_of_files_are_never_used(site, encoded, painted, tmp_path):
    target = tmp_path / "new.png"
    for name in (str(target), f"../../../../../..{target}", "a\\..\\b", "x" * 3000, "%00", "..."):
        assert site.send("/v1/poses", "image", encoded(painted()[0]), name).status == 200
        assert site.send("/v1/poses?format=csv", "image", encoded(painted()[0]), name).status == 200
        assert site.send("/v1/videos", "video", b"no video", name).status == 415
    assert not target.exists()
    assert not list(site.services.results.root.iterdir())


@pytest.mark.parametrize(
    "path",
    ["/static/../../../../etc/passwd", "/static/..%2f..%2fetc%2fpasswd", "/static/%2e%2e/%2e%2e/etc/passwd",
     "/static//etc/passwd", "/static/app.js%00.html", "/static/..", "/static/", "/static/server.py", "/../settings.py",
     "/static/....//server.py", "/v1/results/..%2f..%2fetc/csv", "/v1/results/%00/json",
     "//evil.example/static/app.js", "/static/C:%5cWindows"],
)  # fmt: skip
def test_paths(site, path):
    answer = site.raw(f"GET {path} HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.split()[1] in (b"400", b"404"), answer
    assert b"root:" not in answer


def test_unknown_kinds_of_results(site):
    assert site.get("/v1/results/x/exe").status == 422
    assert site.get("/v1/results/x/upload").status == 422
    assert site.get("/v1/results/x/csv").status == 404


def test_bodies_announced_as_too_large_are_not_read(site):
    head = f"POST /v1/poses HTTP/1.1\r\nHost: {site.host}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    answer = site.raw((head + "Content-Length: 99999999999\r\n\r\n").encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def test_bodies_of_unknown_length_are_read_up_to_the_limit(site):
    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield bytes(10_000)

    try:
        answer = site.ask("POST", "/v1/poses", endless(), {"Content-Type": FORM})
    except ConnectionError:
        return  # closed while still sending
    assert answer.status == 413


@pytest.mark.parametrize(
    "request_lines",
    [
        "\x00\x01\x02\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "POST /v1/poses HTTP/1.1\r\nHost: HOST\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/poses HTTP/1.1\r\nHost: HOST\r\nContent-Length: " + "9" * 5000 + "\r\n\r\n",
        "POST /v1/poses HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\nHost: evil.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\nX: " + "a" * 2_000_000 + "\r\n\r\n",
    ],
)
def test_invalid_http(site, request_lines):
    answer = site.raw(request_lines.replace("HOST", site.host).encode("latin-1"))
    assert answer == b"" or answer.split()[1].startswith(b"4"), answer[:200]


@pytest.mark.parametrize(
    ("body", "kind", "statuses"),
    [
        (b"", FORM, {400, 422}),
        (b"junk", FORM, {400}),
        (b"--b\r\n\r\n", "multipart/form-data", {400}),
        (b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext\r\n--b--\r\n', FORM, {400}),
        (b'--b\r\nContent-Disposition: form-data; name="x"; filename="a"\r\n\r\ntext\r\n--b--\r\n', FORM, {422}),
        (FILE, f"{FORM}; charset=undefined", {400}),
        (FILE.replace(b"NAME", b"\\x"), f"{FORM}; charset=punycode", {400}),
        (FILE, f"{FORM}; charset=UTF-8", {415}),
        (b"{}", "application/json", {415}),
        (b"x", "image/png", {415}),
    ],
)
def test_invalid_forms(site, body, kind, statuses):
    assert site.ask("POST", "/v1/poses", body, {"Content-Type": kind}).status in statuses


def test_many_files_in_a_form_are_refused(site):
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n'
    answer = site.ask("POST", "/v1/poses", part * 500 + b"--b--\r\n", {"Content-Type": FORM})
    assert answer.status == 400


@pytest.mark.slow
def test_connections_of_slow_clients_are_closed(serve):
    with serve(head_seconds=0.3) as site:
        assert site.raw(b"GET / HT") == b""
        assert site.raw(b"") == b""
    with serve(pause_seconds=0.3) as site:
        head = f"POST /v1/poses HTTP/1.1\r\nHost: {site.host}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        answer = site.raw((head + "Content-Length: 1000\r\n\r\n--b").encode())
        assert answer.startswith(b"HTTP/1.1 408")
        assert site.get("/health").status == 200


@pytest.mark.slow
def test_single_bytes_do_not_keep_a_connection_open(serve):
    with serve(head_seconds=0.3) as site, socket.create_connection(("127.0.0.1", site.port)) as connection:
        connection.settimeout(0.05)
        began, closed = time.monotonic(), False
        while not closed and time.monotonic() - began < 30:
            try:
                connection.sendall(b"X")
                closed = connection.recv(100) == b""
            except TimeoutError:
                pass
            except OSError:
                closed = True
        assert closed


@pytest.mark.slow
def test_the_total_time_of_a_body_is_limited(serve):
    with serve(body_seconds=0.4, pause_seconds=5) as site:

        def slow():
            yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
            for _ in range(100):
                time.sleep(0.05)
                yield b"x"

        try:
            answer = site.ask("POST", "/v1/poses", slow(), {"Content-Type": FORM})
        except ConnectionError:
            return
        assert answer.status == 408


def playlist(path):
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n".encode()


def test_videos(site, film, tmp_path):
    (tmp_path / "secret.mp4").write_bytes(film)
    hostile = {
        "nothing": (b"", 415),
        "text": (b"hello there, this is no video at all" * 50, 415),
        "a playlist of local files": (playlist(tmp_path / "secret.mp4"), 415),
        "a list of local files": (f"ffconcat version 1.0\nfile '{tmp_path / 'secret.mp4'}'\n".encode(), 415),
        "a picture": (png_of(100, 100), 415),
        "many pixels": (film, 413),
    }
    for what, (data, status) in hostile.items():
        answer = site.send("/v1/videos", "video", data, "../x.mp4")
        assert answer.status == status, what
        assert str(site.services.results.root) not in answer.body.decode(), what
    assert not list(site.services.results.root.iterdir())
    assert site.services.videos.taken == 0


STARTS = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x01\x00\x00WEBP"]


def refusal_of(data):
    """The refusal of bytes as a photo; None if they can be decoded."""
    try:
        frame = decode(open_photo(io.BytesIO(data), PIXELS))
    except RefusedError as refusal:
        return refusal
    assert frame.dtype == np.uint8
    return None


@given(st.binary(max_size=400), st.sampled_from(STARTS))
def test_any_bytes_are_refused_or_decoded(data, start):
    refusal = refusal_of(start + data)
    assert refusal is None or (400 <= refusal.status < 500 and "\n" not in str(refusal))


@pytest.mark.parametrize("format", FORMATS)
@given(cut=st.floats(0, 1), at=st.floats(0, 1), byte=st.integers(0, 255))
def test_damaged_pictures_are_refused_or_decoded(encoded, painted, format, cut, at, byte):
    data = bytearray(encoded(painted()[0][40:100, 40:100], format))
    data[int(at * (len(data) - 1))] = byte
    refusal = refusal_of(bytes(data[: int(cut * len(data))]))
    assert refusal is None or 400 <= refusal.status < 500


def start_of_upload(site, path):
    head = f"POST {path} HTTP/1.1\r\nHost: {site.host}\r\nContent-Type: {FORM}\r\nContent-Length: 1000\r\n\r\n--b"
    connection = socket.create_connection(("127.0.0.1", site.port))
    connection.sendall(head.encode())
    return connection


@pytest.mark.parametrize("path", ["/v1/poses", "/v1/videos"])
@pytest.mark.parametrize("abruptly", [False, True])
def test_a_caller_who_hangs_up_costs_a_line(site, caplog, poll, path, abruptly):
    poll(lambda: not site.services.videos.taken)
    with start_of_upload(site, path) as connection:
        if path == "/v1/videos":
            poll(lambda: site.services.videos.taken)
        if abruptly:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    poll(lambda: caplog.records)
    poll(lambda: not site.services.videos.taken)
    assert site.get("/health").status == 200
    assert len(caplog.records) == 1
    assert caplog.messages[0].endswith(f"hung up during POST '{path}'")
    assert caplog.records[0].exc_info is None


def test_an_answer_that_nobody_reads_costs_a_line(serve, caplog, poll, film):
    with serve(pause_seconds=0.2) as site:
        body, headers = site.form("video", film)
        lines = [f"POST /v1/videos HTTP/1.1\r\nHost: {site.host}", *(f"{name}: {headers[name]}" for name in headers)]
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            connection.connect(("127.0.0.1", site.port))
            connection.sendall("\r\n".join([*lines, f"Content-Length: {len(body)}\r\n\r\n"]).encode() + body)
            poll(lambda: site.services.videos.taken)
        poll(lambda: not site.services.videos.taken)
        assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/v1/results/a/csv", "/static/app.js", "/nowhere"])
@pytest.mark.parametrize("kind", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_addresses_that_take_no_body_get_none(site, method, path, kind):
    answer = site.raw(f"{method} {path} HTTP/1.1\r\nHost: {site.host}\r\n{kind}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"this address takes no body" in answer
    assert site.ask(method, path, None, {"Content-Length": "0"}).status != 413


def test_one_address_does_not_take_all_connections(serve, poll):
    with serve(connections_per_address=3) as site:
        connections = [start_of_upload(site, "/v1/poses") for _ in range(3)]
        question = f"GET /health HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n".encode()
        assert site.raw(question) == b""
        for connection in connections:
            connection.close()
        poll(lambda: site.raw(question).startswith(b"HTTP/1.1 200"))


def test_requests_that_are_not_answered_yet_are_counted_by_address():
    from hrkit_web.gates.access import Guard
    from hrkit_web.settings import Limits, Settings

    async def requests():
        gate, statuses = asyncio.Event(), []

        async def app(scope, receive, send):
            await gate.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message):
            if "status" in message:
                statuses.append(message["status"])

        def ask(address):
            headers = [(b"host", b"localhost")]
            scope = {"type": "http", "path": "/v1/models", "headers": headers, "client": (address, 1)}
            return asyncio.create_task(guard(scope, None, send))

        guard = Guard(app, Settings(limits=Limits(connections_per_address=2)))
        tasks = [ask("10.0.0.1"), ask("10.0.0.1"), ask("10.0.0.1"), ask("10.0.0.2")]
        while not statuses:
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks)
        assert not guard.unanswered
        return statuses

    assert asyncio.run(requests()) == [429, 200, 200, 200]
