"""Answers over HTTP are those of the library."""

import csv
import io
import re

import numpy as np
import PIL.Image
import pytest
from hrkit_web.networks.models import choices
from hrkit_web.routes.pages import FILES


def test_a_photo_gives_what_the_pipeline_gives(site, painted, encoded, synthetic):
    frame, people = painted()
    answer = site.send("/v1/poses", "image", encoded(frame))
    assert answer.status == 200
    assert (answer.json()["width"], answer.json()["height"]) == (320, 240)
    assert answer.json()["people"] == synthetic.predict(frame).to_dict()
    joints = [list(person["keypoints"].values()) for person in answer.json()["people"]]
    assert np.abs(np.array(joints)[:, :, :2] - people).max() < 2
    edges = answer.json()["skeleton"]["edges"]
    names = answer.json()["skeleton"]["keypoint_names"]
    assert ("left_ankle", "left_knee") in [(names[a], names[b]) for a, b in edges]


def test_a_photo_as_table_and_as_picture(site, painted, encoded):
    frame, people = painted()
    table = site.send("/v1/poses?format=csv", "image", encoded(frame))
    rows = list(csv.DictReader(io.StringIO(table.body.decode())))
    assert table.headers["content-type"].startswith("text/csv")
    assert [float(row["nose_x"]) for row in rows] == pytest.approx(people[:, 0, 0].tolist(), abs=2)
    picture = site.send("/v1/poses?format=jpeg", "image", encoded(frame))
    drawn = np.asarray(PIL.Image.open(io.BytesIO(picture.body)))
    assert drawn.shape == (240, 320, 3)
    assert np.abs(drawn.astype(int) - frame[:, :, ::-1]).max() > 100
    assert not list(site.services.results.root.iterdir())


def test_the_whole_picture_may_be_one_person(serve, painted, encoded):
    from hrkit import Pipeline

    with serve(Pipeline.from_names("synthetic", weights=None)) as one:
        answer = one.send("/v1/poses?detector=none", "image", encoded(painted()[0]))
    (person,) = answer.json()["people"]
    assert person["box"] == [0, 0, 320, 240]


def test_nobody_is_an_ordinary_answer(site, encoded):
    answer = site.send("/v1/poses", "image", encoded(np.zeros((50, 60, 3), np.uint8)))
    assert (answer.status, answer.json()["people"]) == (200, [])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("backbone=hrnet_w999", "no such backbone"),
        ("detector=../../etc/passwd", "no such detector"),
        ("threshold=nan", "less than or equal"),
        ("threshold=2", "less than or equal"),
        ("thresold=0.5", "not permitted"),
        ("format=exe", "'json'"),
    ],
)
def test_invalid_parameters(site, painted, encoded, query, said):
    answer = site.send(f"/v1/poses?{query}", "image", encoded(painted()[0]))
    assert answer.status == 422
    assert said in str(answer.json()["detail"])


@pytest.mark.slow
def test_a_threshold_leaves_out_people_with_lower_scores(serve, painted, encoded, synthetic):
    from hrkit import Detections

    class Doubtful:
        detector, skeleton, max_batch_size, bottom_up = synthetic.detector, synthetic.skeleton, 8, False
        predict_batch = staticmethod(synthetic.predict_batch)

        @staticmethod
        def detect(images):
            return [Detections(one.xyxy, [0.9, 0.4], [0, 0]) for one in synthetic.detect(images)]

    with serve(Doubtful()) as one:
        for threshold, people in ((0.3, 2), (0.5, 1), (0.95, 0)):
            answer = one.send(f"/v1/poses?threshold={threshold}", "image", encoded(painted()[0]))
            assert len(answer.json()["people"]) == people


def test_health_and_metrics(site, painted, encoded):
    site.send("/v1/poses", "image", encoded(painted()[0]))
    assert site.get("/health").json()["status"] == "ok"
    site.get("/no/such/path")
    page = site.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = page.body.decode()
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? \S+', line), line
    assert re.search(r'requests_total\{route="/v1/poses",status="200"\} [1-9]', text)
    assert re.search(r'requests_total\{route="other",status="404"\} [1-9]', text)
    assert float(re.search(r"hrkit_web_batch_size_count (\d+)", text)[1]) >= 1


def test_the_documentation_describes_this_server(site):
    said = site.get("/openapi.json").json()
    assert {"/v1/poses", "/v1/videos", "/v1/models", "/v1/results/{name}/{kind}", "/health"} <= set(said["paths"])
    fields = said["paths"]["/v1/poses"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert fields["required"] == ["image"]
    assert site.get("/docs").status == 200


def test_nothing_is_loaded_from_other_sites():
    assert {"index.html", "docs.html", "app.js", "style.css"} <= set(FILES)
    for name, content in FILES.items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""(src|href|from|import|url\()\s*=?\s*["'(]?\s*(https?:)?//""", text), name


def test_the_page_has_security_headers(site):
    page = site.get("/")
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.body.decode()):
        assert site.get(name).status == 200


def test_offered_networks_have_weights():
    from hrkit import list_names
    from hrkit.weights import catalogue

    offered = choices()
    for kind, of in (("backbones", "pose"), ("detectors", "detector")):
        names = [model.name for model in offered[kind]]
        assert names
        assert set(names) <= set(list_names(kind))
        assert all(catalogue.entries(name, of) for name in names)
        at_hand = [model.at_hand for model in offered[kind]]
        assert at_hand == sorted(at_hand, reverse=True)


def test_the_models_page(site):
    said = site.get("/v1/models").json()
    assert said["default"] == {"backbone": "synthetic", "detector": "synthetic"}
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in said["colors"]["people"])
