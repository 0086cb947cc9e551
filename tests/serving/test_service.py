"""The service in this process: what it answers, and what it refuses."""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fakemedia.core.errors import UserError
from fakemedia.registry.client import Registry
from fakemedia.registry.promotion import promote, roll_back
from fakemedia.registry.versions import find_version, open_version
from fakemedia.scoring.onnx_model import OnnxModel
from fakemedia.scoring.scores import score_files
from fakemedia.serving import live_detector
from fakemedia.serving.app import make_app
from fakemedia.serving.live_detector import LiveDetector
from fakemedia.serving.log import read_log
from tests.serving.conftest import encoded, picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
BRIGHT, DARK = encoded(picture(220)), encoded(picture(30))


def client_of(made) -> TestClient:
    return TestClient(make_app(made), raise_server_exceptions=False)


def post(client: TestClient, *files: bytes, **options):
    return client.post("/v1/score", files=[("pictures", (f"{number}.png", each)) for number, each in enumerate(files)],
                       **options)


def test_scores_are_those_of_kedro_score(service: Callable, registry: Registry, tmp_path: Path) -> None:
    made = service()
    answer = post(client_of(made), BRIGHT, DARK, data={"source": "desk"}).json()
    assert [each["verdict"] for each in answer["pictures"]] == ["fake", "not flagged"]
    for number, data in enumerate((BRIGHT, DARK)):
        (tmp_path / f"{number}.png").write_bytes(data)
    model = OnnxModel(open_version(registry, find_version(registry, 1)) / "model.onnx")
    theirs = score_files(model, [tmp_path / "0.png", tmp_path / "1.png"], progress=False)
    for score, row in zip(answer["pictures"], theirs.to_dict("records"), strict=True):
        assert score["logit"] == pytest.approx(row["logit"], abs=1e-6)
        assert score["p_fake"] == pytest.approx(row["p_fake"], abs=1e-6)
        assert (score["sha256"], score["width"], score["seen"]) == (row["sha256"], row["width"], row["seen"])
        assert len(score["crops"]) == row["crops"]
    known = answer["detector"]
    assert (known["version"], known["tasks"], known["crop"]) == (1, ["one", "two"], 24)
    assert known["content"] == find_version(registry, 1).content
    assert "does not show that a picture is real" in answer["caveat"]


def test_what_is_scored_is_logged_without_the_picture(service: Callable, registry: Registry, tmp_path: Path) -> None:
    made = service()
    client = client_of(made)
    post(client, BRIGHT, headers={"X-Source": "phone\n\x00"})
    post(client, encoded(picture(30), "JPEG", quality=80), encoded(np.full((60, 80, 3), 9, np.uint8)))
    made.log.close()
    table = read_log(tmp_path / "log.db")
    assert table["source"].tolist() == ["phone", "", ""]
    assert table["verdict"].tolist() == ["fake", "not flagged", "unsure"]
    assert table["codec"].tolist() == ["png", "jpeg", "png"]
    assert table["quality"].tolist() == [0, 80, 0]
    assert np.isnan(table["logit"].iloc[2])
    assert table["embedding"].iloc[2] is None
    np.testing.assert_allclose(table["embedding"].iloc[0].astype(float), [220, 220, 220], atol=2)
    assert table["embedding"].iloc[0].dtype == np.float16
    assert set(table["detector"]) == {find_version(registry, 1).content}
    assert BRIGHT[50:80] not in (tmp_path / "log.db").read_bytes()
    assert read_log(tmp_path / "log.db", since=table["time"].iloc[1:].min())["source"].tolist() == ["", ""]


def test_a_picture_that_is_refused_does_not_stop_the_others(service: Callable) -> None:
    answer = post(client_of(service()), BRIGHT, b"text", DARK).json()
    assert [each["verdict"] for each in answer["pictures"]] == ["fake", None, "not flagged"]
    assert "no picture that can be read" in answer["pictures"][1]["error"]


@pytest.mark.parametrize(("data", "status", "said"), [
    (b"", 422, "empty"), (b"GIF89a but not really", 415, "no picture"), (BRIGHT[:200], 422, "cannot be decoded"),
    (encoded(picture(90, 400, 300)), 413, "400"), (b"%PDF-1.7", 415, "no picture"),
], ids=["empty", "text", "cut", "large", "pdf"])
def test_pictures_that_are_refused(service: Callable, data: bytes, status: int, said: str) -> None:
    answer = post(client_of(service(max_pixels=100000)), data)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]


def test_requests_that_are_refused(service: Callable) -> None:
    made = service(max_bytes=20000, max_pictures=2)
    client = client_of(made)
    assert client.post("/v1/score", json={"picture": "x"}).status_code == 415
    assert client.post("/v1/score", data={"source": "x"}, files={}).status_code == 415
    assert client.post("/v1/score", content=b"x", headers={"Content-Type": "multipart/form-data"}).status_code == 422
    broken = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/v1/score", content=b"no parts", headers=broken).status_code == 422
    assert post(client, b"x" * 30000).status_code == 413
    assert client.post("/v1/score", content=(b"x" * 5000 for _ in range(9)), headers=broken).status_code in (413, 422)
    several = post(client, BRIGHT[:99], BRIGHT[:99], BRIGHT[:99])
    assert several.status_code == 413
    assert "at most 2 pictures" in several.json()["detail"]
    assert client.get("/v1/score").status_code == 405
    assert client.get("/nothing").status_code == 404
    made.working = made.config.max_requests
    busy = post(client, DARK)
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "1")
    made.working, made.draining = 0, True
    assert post(client, DARK).status_code == client.get("/readyz").status_code == 503
    assert client.get("/healthz").text == "ok\n"


def test_scores_that_take_too_long(service: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    made = service(seconds=0.2)
    release = threading.Event()
    monkeypatch.setattr(OnnxModel, "outputs", lambda self, crops: release.wait(5))
    slow = post(client_of(made), DARK)
    release.set()
    assert slow.status_code == 503
    assert "more than 0.2 seconds" in slow.json()["detail"]


def test_a_network_that_fails_is_one_message_and_the_next_request_is_answered(
        service: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(service())
    with monkeypatch.context() as patch:
        patch.setattr(OnnxModel, "outputs", lambda self, crops: 1 / 0)
        failed = post(client, DARK)
    assert (failed.status_code, "made a mistake" in failed.json()["detail"]) == (500, True)
    assert post(client, DARK).status_code == 200


def test_a_token_is_asked_for(service: Callable) -> None:
    client = client_of(service(token="secret"))
    assert post(client, DARK).status_code == 401
    assert post(client, DARK, headers={"Authorization": "Bearer guess"}).status_code == 401
    assert post(client, DARK, headers={"Authorization": "Bearer secret"}).status_code == 200
    assert 'id="token"' in client.get("/").text


def test_the_page_metrics_and_description(service: Callable) -> None:
    client = client_of(service())
    post(client, BRIGHT)
    page = client.get("/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert all(text in page.text for text in ("one, two", "does not show that a picture is real", "24 x 24"))
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    told = client.get("/metrics").text
    assert 'fakemedia_requests_total{status="200"} 1.0' in told
    assert 'fakemedia_pictures_total{verdict="fake"} 1.0' in told
    assert "fakemedia_version 1.0" in told
    described = client.get("/openapi.json").json()["paths"]["/v1/score"]["post"]
    assert {"200", "401", "413", "415", "422", "429", "503"} <= set(described["responses"])
    assert "multipart/form-data" in described["requestBody"]["content"]


def test_the_alias_is_followed_and_a_damaged_version_is_not(service: Callable, registry: Registry) -> None:
    made = service()
    client = client_of(made)
    two = find_version(registry, 2)
    promote(registry, two, by="ada", forced="test")
    made.live.refresh()
    answer = post(client, BRIGHT).json()
    assert answer["detector"]["version"] == 2
    first = registry.files(find_version(registry, 1).run)
    kept = (first / "model.onnx").read_bytes()
    (first / "model.onnx").write_bytes(kept + b"x")
    registry.set_alias("champion", 1)
    made.live.refresh()
    assert post(client, BRIGHT).json()["detector"]["version"] == 2
    assert "model.onnx of a registered detector was changed" in client.get("/readyz").json()["problem"]
    (first / "model.onnx").write_bytes(kept)
    made.live.refresh()
    assert client.get("/readyz").json() == {"ready": True, "version": 1, "problem": ""}
    registry.set_alias("champion", None)
    made.live.refresh()
    assert post(client, BRIGHT).json()["detector"]["version"] == 1


def test_a_registry_that_does_not_change_is_not_read(service: Callable, registry: Registry,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    made, read = service(), []
    refresh = LiveDetector.refresh
    monkeypatch.setattr(LiveDetector, "refresh", lambda self: read.append(1) or refresh(self))
    for _ in range(20):
        made.live.check()
    assert len(read) == 1
    for wanted in (2, 1, 2, 1):
        registry.set_alias("champion", wanted)
        made.live.check()
        assert made.live.current.version.number == wanted
    assert len(read) == 5


def test_what_could_not_be_followed_is_tried_again(service: Callable, registry: Registry,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_detector, "RETRY", 0.5)
    made = service()
    file = registry.files(find_version(registry, 2).run) / "model.onnx"
    kept = file.read_bytes()
    file.write_bytes(b"x")
    registry.set_alias("champion", 2)
    made.live.check()
    assert "was changed" in made.live.problem
    file.write_bytes(kept)
    made.live.check()
    assert made.live.current.version.number == 1, "tried again at once"
    time.sleep(0.5)
    made.live.check()
    assert made.live.current.version.number == 2
    assert made.live.problem == ""


def test_there_is_nothing_to_serve(registry: Registry) -> None:
    with pytest.raises(UserError, match="Unknown version 'nobody'"):
        LiveDetector(registry, "nobody")
    with pytest.raises(UserError, match="no earlier champion"):
        roll_back(registry, by="ada")
    (registry.files(find_version(registry, 1).run) / "model.onnx").unlink()
    with pytest.raises(UserError, match=r"model\.onnx of a registered detector is missing"):
        LiveDetector(registry, "champion")


def hostile(seed: int) -> bytes:
    """Return bytes that are nearly a picture: cut, with changed bytes, an absurd size, or none."""
    rng = random.Random(seed)
    kind = rng.choice(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
    data = bytearray(encoded(picture(rng.randrange(256), rng.randrange(1, 60), rng.randrange(1, 60), seed), kind))
    match seed % 5:
        case 0:
            del data[rng.randrange(len(data)):]
        case 1:
            for _ in range(rng.randrange(1, 30)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 2:
            data[8:24] = rng.randbytes(16)
        case 3:
            data = bytearray(rng.randbytes(rng.randrange(1, 500)))
        case 4:
            buffer = io.BytesIO()
            Image.new("L", (20000, 1), rng.randrange(256)).save(buffer, "PNG")
            data = bytearray(buffer.getvalue())
            data[16:24] = rng.randbytes(8)
    return bytes(data)


def test_hostile_pictures_never_stop_the_service(service: Callable) -> None:
    made = service(max_pixels=1000000)
    client = client_of(made)
    statuses = {post(client, hostile(seed)).status_code for seed in range(300)}
    assert statuses <= {200, 413, 415, 422}
    assert {413, 415, 422} <= statuses
    assert post(client, BRIGHT).json()["pictures"][0]["verdict"] == "fake"
    assert made.working == 0
