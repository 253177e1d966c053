"""The page in a browser. Needs playwright and Chromium."""

import csv
import functools
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = os.environ.get("HRKIT_AXE", "")
"""Path of axe.min.js, as installed by `npm install axe-core`."""

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"), pytest.mark.slow]

WAIT = 30_000
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)


def write_y4m(path, frames):
    """An uncompressed video for Chromium's camera: (H,W,3) RGB frames, 10 a second."""
    height, width = frames[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            planes = PIL.Image.fromarray(frame).convert("YCbCr").split()
            halves = [planes[0], *(plane.resize((width // 2, height // 2)) for plane in planes[1:])]
            file.write(b"FRAME\n" + b"".join(plane.tobytes() for plane in halves))


@pytest.fixture(scope="module")
def photo():
    """Two real people."""
    import hrkit

    return Path(hrkit.__file__).parent / "assets" / "basketball.jpg"


@pytest.fixture(scope="module")
def lite():
    """The default pipeline of the page."""
    pytest.importorskip("hrkit_lite")
    from hrkit_web.networks.models import build_pipeline

    return build_pipeline("lite", "lite_person")


@pytest.fixture(scope="module")
def site(serve, lite):
    with serve(lite) as one:
        yield one


@pytest.fixture(scope="module")
def browser(tmp_path_factory, photo):
    """Chromium with a fake camera, in which the photo moves to and fro."""
    picture = np.asarray(PIL.Image.open(photo).convert("RGB").resize((480, 360)))
    film = tmp_path_factory.mktemp("camera") / "film.y4m"
    write_y4m(film, [np.roll(picture, shift, axis=1) for shift in (0, 2, 4, 6, 4, 2)])
    with sync_playwright() as playwright:
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={film}"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, site):
    """Opens the page in a window; errors in the page fail the test."""
    contexts, wrong = [], []

    def open_(width=1280, height=800, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, permissions=["camera"], **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(site.address)
        expect(page.locator("#backbone option")).not_to_have_count(0)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def film_file(photo, tmp_path):
    """An MP4 of the photo, 6 frames."""
    from hrkit.images import read_image
    from hrkit.video.sinks import Mp4Sink

    path, frame = tmp_path / "court side.mp4", read_image(photo)
    with Mp4Sink(path, fps=10) as sink:
        for index in range(6):
            sink.write(np.roll(frame, 3 * index, axis=1), index / 10)
    return path


def downloaded(page, label):
    """The name and content of the file that a button saves."""
    with page.expect_download(timeout=WAIT) as download:
        page.get_by_role("button", name=label, exact=True).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def pixels_drawn(page):
    """The number of pixels of the canvas with a strong colour; the photo is grey."""
    return page.evaluate("""() => {
        const canvas = document.getElementById("canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let i = 0; i < data.length; i += 4) {
            count += Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 60;
        }
        return count;
    }""")


def serious(page):
    """Accessibility violations that axe rates serious or worse; none if it is not installed."""
    if not AXE:
        return []
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run().then((result) => result.violations)")
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def test_a_photo(open_page, photo, site, lite):
    page = open_page()
    page.set_input_files("#file", photo)
    expect(page.locator("#count")).to_have_text("2", timeout=WAIT)
    expect(page.get_by_role("img", name="The picture, with 2 people drawn")).to_be_visible()
    expect(page.locator("#announcer")).to_have_text("2 people")
    assert pixels_drawn(page) > 500
    stage, canvas = page.locator("#stage").bounding_box(), page.locator("#canvas").bounding_box()
    assert canvas["y"] + canvas["height"] <= stage["y"] + stage["height"], "the picture is cropped"
    name, content = downloaded(page, "JSON")
    assert name == "basketball_poses.json"
    answer = json.loads(content)
    assert [person["box_score"] for person in answer["people"]] == [
        person["box_score"] for person in site.send("/v1/poses", "image", photo.read_bytes()).json()["people"]
    ]
    name, content = downloaded(page, "CSV")
    assert name == "basketball_poses.csv"
    assert len(list(csv.DictReader(io.StringIO(content.decode())))) == 2
    name, content = downloaded(page, "Picture")
    assert name == "basketball_poses.jpg"
    assert PIL.Image.open(io.BytesIO(content)).size == (640, 480)
    page.get_by_label("Lowest score of a person").fill("0.5")
    expect(page.locator("#count")).to_have_text("3", timeout=WAIT)
    page.get_by_label("Boxes and ids").check()
    kept = page.get_by_role("region", name="Results so far").get_by_role("img")
    expect(kept).to_have_count(2, timeout=WAIT)
    assert [image.get_attribute("alt") for image in kept.all()] == [
        f"basketball.jpg with {people} drawn, found by synthetic with synthetic" for people in ("3 people", "2 people")
    ]
    assert serious(page) == []
    page.get_by_role("button", name="Remove these pictures").press("Enter")
    expect(kept).to_have_count(0)
    expect(page.get_by_role("button", name="Choose a file")).to_be_focused()


def test_a_video(open_page, film_file):
    import av

    page = open_page(390, 844, color_scheme="dark")
    page.set_input_files("#file", film_file)
    expect(page.locator("#downloads")).to_be_visible(timeout=2 * WAIT)
    expect(page.locator("#people li")).to_have_count(2)
    expect(page.get_by_role("slider", name="Position in the video")).to_be_visible()
    assert pixels_drawn(page) > 500
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    name, content = downloaded(page, "CSV")
    assert name == "court side_poses.csv"
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert {int(row["frame"]) for row in rows} == set(range(6))
    _, content = downloaded(page, "JSON")
    assert len(json.loads(content)) == len(rows)
    name, content = downloaded(page, "Video")
    with av.open(io.BytesIO(content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
    assert downloaded(page, "Video")[1] == content
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert serious(page) == []


def test_the_camera_by_keyboard_alone(open_page, site):
    page = open_page()

    def reach(name):
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent || document.activeElement.name").strip() == name:
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"the focus on {name} is not visible"
                return
        raise AssertionError(f"Tab does not reach {name}")

    reach("Open the camera")
    page.keyboard.press("Enter")
    expect(page.locator("#fps")).to_have_text(re.compile(r"\d"), timeout=WAIT)
    expect(page.get_by_role("button", name="Record")).to_be_focused()
    expect(page.locator("#people li").first).to_contain_text("id ", timeout=WAIT)
    before = page.evaluate("document.getElementById('canvas').toDataURL()")
    frames = functools.partial(site.get, "/metrics")
    seen = re.search(r'frames_total\{source="camera"\} (\d+)', frames().body.decode())
    assert int(seen[1]) > 0
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Record")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#canvas")).to_be_visible()
    for _ in range(100):
        if page.evaluate("document.getElementById('canvas').toDataURL()") != before:
            break
        page.wait_for_timeout(50)
    else:
        raise AssertionError("the picture does not move")
    page.keyboard.press("Space")
    expect(page.locator("#downloads")).to_be_visible(timeout=WAIT)
    assert serious(page) == []
    page.keyboard.press("Space")
    expect(page.locator("#downloads")).to_be_hidden()
    reach("Stop")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Open the camera")).to_be_focused(timeout=WAIT)
    expect(page.locator("#downloads")).to_be_visible()  # for the recording
    expect(page.get_by_text("Drop a photo or a video here")).to_be_visible()
    reach("threshold")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#threshold-out")).to_have_text("0.60")


def test_unreadable_files_show_an_error(browser, site, tmp_path):
    page = browser.new_page()
    page.goto(site.address)
    expect(page.locator("#backbone option")).not_to_have_count(0)
    (tmp_path / "a.png").write_bytes(b"no picture")
    page.set_input_files("#file", tmp_path / "a.png")
    expect(page.get_by_role("alert")).to_contain_text("picture")
    expect(page.locator("#working")).to_be_hidden()
    (tmp_path / "a.mp4").write_bytes(b"no video")
    page.set_input_files("#file", tmp_path / "a.mp4")
    expect(page.get_by_role("alert")).to_contain_text("no video")
    expect(page.locator("#working")).to_be_hidden()
    page.close()


def test_opening_the_camera_stops_a_video_in_progress(open_page, film_file):
    page = open_page()
    page.route("**/v1/videos*", lambda route: None)  # no answer comes
    page.evaluate("""() => {
        navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", "NotFoundError"));
    }""")
    page.set_input_files("#file", film_file)
    expect(page.locator("#working")).to_be_visible()
    page.get_by_role("button", name="Open the camera").click()
    expect(page.get_by_role("alert")).to_contain_text("no camera")
    expect(page.locator("#working")).to_be_hidden()


def test_a_photo_opened_while_the_camera_opens_replaces_it(open_page, photo):
    page = open_page()
    page.evaluate("""() => {
        const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = (wanted) => new Promise((resolve) => {
            window.allow = async () => {
                const stream = await real(wanted);
                const [track] = stream.getVideoTracks();
                const stop = track.stop.bind(track);
                track.stop = () => { stop(); document.body.dataset.track = track.readyState; };
                resolve(stream);
            };
        });
    }""")
    page.get_by_role("button", name="Open the camera").click()
    page.set_input_files("#file", photo)
    expect(page.locator("#downloads")).to_be_visible(timeout=WAIT)
    page.evaluate("allow()")
    expect(page.locator("body")).to_have_attribute("data-track", "ended")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.get_by_role("img", name="The picture, with 2 people drawn")).to_be_visible()
    expect(page.locator("#downloads")).to_be_visible()
    page.get_by_role("button", name="Open the camera").click()  # the camera is opened again
    page.evaluate("allow()")
    expect(page.locator("#fps")).to_have_text(re.compile(r"\d"), timeout=WAIT)
    expect(page.locator("#downloads")).to_be_hidden()
    page.get_by_role("button", name="Stop").click()


@pytest.mark.parametrize("path", ["", "docs"])
def test_no_barriers(open_page, site, path):
    if not AXE:
        pytest.skip("HRKIT_AXE is not set to the path of axe.min.js")
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        page.goto(site.address + path)
        expect(page.get_by_role("main")).not_to_be_empty()
        assert serious(page) == []
