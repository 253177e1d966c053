"""Videos: events per frame, then files that can be fetched once."""

import csv
import http.client
import io
import json

import av
import numpy as np
import pytest
from hrkit_web.errors import RefusedError
from hrkit_web.files.results import ResultStore

FRAMES = 12


@pytest.fixture
def done(site, film):
    """The events of the film."""
    answer = site.send("/v1/videos?annotate=true&smoothing=0", "video", film)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    yield answer.lines()
    site.ask("DELETE", f"/v1/results/{answer.lines()[-1]['results']['id']}")


@pytest.mark.slow
def test_every_frame_has_an_event(done, painted):
    info, *frames, last = done
    assert (info["type"], info["width"], info["height"], info["frames"]) == ("info", 320, 240, FRAMES)
    assert [frame["frame"] for frame in frames] == list(range(FRAMES))
    assert [frame["time"] for frame in frames] == pytest.approx([index / 25 for index in range(FRAMES)])
    assert (last["type"], last["frames"]) == ("done", FRAMES)
    for index, frame in enumerate(frames):
        nose = np.array([person["keypoints"]["nose"][:2] for person in frame["people"]])
        assert np.abs(nose - painted(2.0 * index)[1][:, 0]).max() < 4  # video encoding blurs colours
    assert [person["id"] for person in frames[-1]["people"]] == [1, 2]


@pytest.mark.slow
def test_the_results_can_be_fetched_once(site, done):
    files = done[-1]["results"]["files"]
    table = site.get(files["csv"])
    rows = list(csv.DictReader(io.StringIO(table.body.decode())))
    assert [int(row["frame"]) for row in rows] == [index for index in range(FRAMES) for _ in range(2)]
    assert {row["id"] for row in rows[-2:]} == {"1", "2"}
    results = site.get(files["json"]).json()
    assert [result["image_id"] for result in results] == [int(row["frame"]) for row in rows]
    assert len(results[0]["keypoints"]) == 51
    video = site.get(files["mp4"])
    assert "attachment" in video.headers["content-disposition"]
    with av.open(io.BytesIO(video.body)) as container:
        drawn = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(drawn) == FRAMES
    assert drawn[0].shape == (240, 320, 3)
    for path in files.values():
        assert site.get(path).status == 404
    assert not [path for path in site.services.results.root.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["bytes=abc", "bytes=99999999-", "bytes=5-9", "bytes=0-1,4-5"])
def test_results_are_sent_whole_even_if_a_range_is_requested(site, done, asked):
    for kind in ("csv", "mp4"):
        answer = site.get(done[-1]["results"]["files"][kind], {"Range": asked})
        assert answer.status == 200
        assert int(answer.headers["content-length"]) == len(answer.body) > 100
        assert "accept-ranges" not in answer.headers


@pytest.mark.slow
def test_results_can_be_deleted_without_fetching(site, done):
    results = done[-1]["results"]
    assert site.ask("DELETE", f"/v1/results/{results['id']}").status == 204
    assert site.get(results["files"]["csv"]).status == 404
    assert site.ask("DELETE", f"/v1/results/{results['id']}").status == 204
    assert not list(site.services.results.root.iterdir())


@pytest.mark.slow
def test_no_video_is_made_unless_requested(site, film):
    last = site.send("/v1/videos?detect_every=3", "video", film).lines()[-1]
    assert set(last["results"]["files"]) == {"csv", "json"}


@pytest.mark.slow
def test_a_damaged_video_still_ends_with_results(site, film):
    whole = av.open(io.BytesIO(film)).streams.video[0].frames
    damaged = bytearray(film)
    damaged[len(film) // 2 : -1000] = bytes(len(damaged[len(film) // 2 : -1000]))
    *_, last = site.send("/v1/videos", "video", bytes(damaged)).lines()
    assert last["type"] == "done"
    assert 0 < last["frames"] <= whole


@pytest.mark.slow
def test_processing_of_long_videos_stops(serve, film):
    with serve(video_frames=5) as site:
        *frames, error, last = site.send("/v1/videos", "video", film).lines()
        assert len(frames) == 6
        assert error == {"type": "error", "detail": "the video is too long; processing stopped after 5 frames"}
        assert last["frames"] == 5


class Stuck:
    """A pipeline whose detector waits at a gate after `free` frames."""

    bottom_up = False

    def __init__(self, pipeline, gate, free):
        self.detector, self.skeleton, self.max_batch_size = pipeline.detector, pipeline.skeleton, 8
        self._pipeline, self._gate, self._left = pipeline, gate, free

    def detect(self, images):
        self._left -= len(images)
        if self._left < 0:
            self._gate.wait(30)
        return self._pipeline.detect(images)

    def predict_batch(self, images, boxes):
        return self._pipeline.predict_batch(images, boxes)


@pytest.fixture
def gate():
    import threading

    event = threading.Event()
    yield event
    event.set()


def begun(site, film):
    """A connection on which the first event of a video has been read."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    connection.request("POST", "/v1/videos?annotate=true", *site.form("video", film))
    response = connection.getresponse()
    assert json.loads(response.readline())["type"] == "info"
    return connection, response


@pytest.mark.slow
def test_a_caller_that_disconnects_leaves_nothing_behind(serve, film, synthetic, gate, poll):
    with serve(Stuck(synthetic, gate, 4)) as site:
        connection, response = begun(site, film)
        assert list(site.services.results.root.iterdir())
        assert site.services.videos.taken == 1
        response.close()
        connection.close()
        gate.set()
        poll(lambda: not list(site.services.results.root.iterdir()) and site.services.videos.taken == 0)


@pytest.mark.slow
def test_the_number_of_videos_is_limited(serve, film, synthetic, gate):
    with serve(Stuck(synthetic, gate, 0), videos=1) as site:
        connection, response = begun(site, film)
        busy = site.send("/v1/videos", "video", film)
        assert (busy.status, busy.headers["retry-after"]) == (503, "1")
        gate.set()
        assert json.loads(response.read().splitlines()[-1])["type"] == "done"
        connection.close()


@pytest.mark.slow
def test_stopping_the_server_deletes_everything(serve, film):
    with serve() as site:
        site.send("/v1/videos", "video", film)
        root = site.services.results.root
        assert list(root.iterdir())
    assert not root.exists()


@pytest.mark.slow
def test_stopping_the_server_stops_videos_in_progress(serve, film, synthetic, gate):
    with serve(Stuck(synthetic, gate, 4)) as site:
        connection, _ = begun(site, film)
        root = site.services.results.root
        gate.set()
    connection.close()
    assert not root.exists()


def test_results_expire(tmp_path):
    now = 0.0
    store = ResultStore(most=2, seconds=10, clock=lambda: now)
    names = []
    for text in "abc":
        with store.workspace() as folder:
            (folder / "x.csv").write_text(text)
            names.append(store.keep([folder / "x.csv"])["id"])
    with pytest.raises(RefusedError):  # replaced by the third
        store.take(names[0], "csv")
    assert store.take(names[1], "csv").read_text() == "b"
    now = 11.0
    with pytest.raises(RefusedError):
        store.take(names[2], "csv")
    assert not list(store.root.iterdir())
    store.close()
    assert not store.root.exists()
