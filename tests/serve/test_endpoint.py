"""The JSON endpoint: by value on a ruler of brightness, and what it refuses."""

import io
import struct
import tempfile
import zlib

import numpy as np
import pytest
from PIL import Image

fastapi = pytest.importorskip("fastapi", reason='needs pip install "mimi-lightning[serve]"')
pytest.importorskip("gradio", reason='needs pip install "mimi-lightning[serve]"')

from fastapi.testclient import TestClient  # noqa: E402

from mimi_lightning.serve import uploads  # noqa: E402
from mimi_lightning.serve.app import make_app  # noqa: E402


@pytest.fixture(scope="module")
def client(ruler):
    return TestClient(make_app(ruler))


def grey(value, size=(40, 30), kind="PNG", **more):
    stream = io.BytesIO()
    Image.new("RGB", size, (value,) * 3).save(stream, kind, **more)
    return stream.getvalue()


def bomb(width, height):
    """A PNG of so many pixels in a hundred bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def send(client, *pictures):
    answer = client.post("/score", files=[("pictures", (f"{i}.png", data)) for i, data in enumerate(pictures)])
    assert answer.status_code == 200, answer.text
    return answer.json()["pictures"]


def test_a_picture_is_scored_on_every_scale(client):
    (told,) = send(client, grey(102))
    assert (told["name"], told["width"], told["height"], told["std"]) == ("0.png", 40, 30, None)
    assert told["proxy"] == pytest.approx(4)
    web, lab = told["native"]
    assert lab == {
        "scale": "lab",
        "score": pytest.approx(40, rel=1e-5),
        "std": None,
        "low": 0,
        "high": 100,
        "outside": False,
        "percentile": pytest.approx(100 * 4.5 / 11, abs=5),
        "examples": [{"image": f"lab{mos}.png", "mos": mos} for mos in lab_marks(lab["score"])],
    }
    assert (web["score"], web["percentile"], web["examples"]) == (pytest.approx(2.6), None, [])


def lab_marks(score):
    return sorted(sorted(range(0, 101, 10), key=lambda mos: (abs(mos - score), mos))[:4])


def test_a_broken_picture_is_a_row_and_the_others_are_scored(client):
    first, broken, cut, last = send(client, grey(255), b"no picture", grey(9, (300, 300), "JPEG")[:500], grey(0))
    assert (first["proxy"], last["proxy"]) == (pytest.approx(10), pytest.approx(0))
    assert "This is no picture of the kinds JPEG, PNG" in broken["error"]
    assert "cannot be read" in cut["error"]


def test_a_picture_lies_as_its_exif_says(client):
    exif = Image.Exif()
    exif[274] = 6
    (told,) = send(client, grey(0, (40, 30), "JPEG", exif=exif))
    assert (told["width"], told["height"]) == (30, 40)


@pytest.mark.parametrize("size", [(7072, 7072), (10_000, 9_000), (30_000, 30_000)])
def test_decompression_bombs_are_refused_before_they_are_decoded(client, size, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    (told,) = send(client, bomb(*size))
    assert "50 million at most" in told["error"]


def test_a_picture_of_just_so_many_pixels_is_decoded(client):
    (told,) = send(client, bomb(10_000, 5_000))
    assert "cannot be read" in told["error"]


def test_what_is_long_and_narrow_is_refused(client):
    (told,) = send(client, grey(0, (101, 10)))
    assert told["error"] == "The picture has 101 x 10 pixels: one side is more than 10 times the other."
    assert "proxy" in send(client, grey(0, (100, 10)))[0]


def test_kinds_that_start_programs_are_no_pictures(client):
    (told,) = send(client, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    assert "no picture" in told["error"]


def test_a_request_has_a_limit(client, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 2**20)
    answer = client.post("/score", files={"pictures": ("a.png", b"0" * 2**20)})
    assert (answer.status_code, answer.json()) == (
        413,
        {"error": "A request may have 1 MB of pictures at most. Send fewer at once."},
    )


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ({"content": b"x"}, 415, "multipart/form-data"),
        ({"files": {"other": ("a.png", b"x")}}, 400, "a field `pictures`"),
        ({"files": [("pictures", ("a.png", b"x"))] * 17}, 400, "Maximum number of files is 16"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=y"}}, 400, "cannot be read"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
    ],
)
def test_what_is_no_form_of_pictures_is_refused(client, words, status, message):
    answer = client.post("/score", **words)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_a_field_without_a_file_is_refused(client):
    form = b'--y\r\nContent-Disposition: form-data; name="pictures"\r\n\r\nx\r\n--y--\r\n'
    answer = client.post("/score", content=form, headers={"content-type": "multipart/form-data; boundary=y"})
    assert answer.status_code == 400


def test_nothing_is_written_to_a_disk(client, monkeypatch):
    monkeypatch.setattr(tempfile, "_TemporaryFileWrapper", lambda *_: pytest.fail("written"))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda *_, **__: pytest.fail("written"))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8))
    noise.save(stream := io.BytesIO(), "PNG")
    assert len(stream.getvalue()) > 2**21  # more than what Starlette keeps in memory
    assert "proxy" in send(client, stream.getvalue())[0]


def test_scores_are_translated(client):
    told = client.get("/translate", params={"from": "a<b>", "to": "lab", "score": 2}).json()
    assert told == {"from": "a<b>", "to": "lab", "score": 2, "translated": pytest.approx(25), "outside": False}
    assert client.get("/translate", params={"from": "proxy", "to": "lab", "score": 11}).json()["outside"] is True


@pytest.mark.parametrize(
    "words", [{"from": "no", "to": "lab", "score": 1}, {"from": "lab", "to": "a<b>", "score": "nan"}, {"score": 1}]
)
def test_what_cannot_be_translated_is_refused(client, words):
    answer = client.get("/translate", params=words)
    assert answer.status_code == 422
    assert answer.json()


def test_scales_lie_on_the_proxy_axis(client):
    told = client.get("/scales").json()
    assert (told["low"], told["high"]) == (pytest.approx(0, abs=1e-5), pytest.approx(10))
    web, lab = told["scales"]
    assert [tick["score"] for tick in lab["ticks"]] == [0, 20, 40, 60, 80, 100]
    assert [tick["proxy"] for tick in web["ticks"]] == pytest.approx(
        [2.5 * (tick["score"] - 1) for tick in web["ticks"]]
    )
    assert (web["scale"], web["low"], web["high"]) == ("a<b>", 1, 5)


def test_a_mapper_that_does_not_reach_all_labels_has_its_ends_on_the_ruler(make_ruler):
    ruler = make_ruler({"_target_": "mimi_lightning.models.mappers.Logistic"})
    ruler.model.mapper.rise.data -= 1  # its upper asymptote comes down to .41 of what it was
    told = TestClient(make_app(ruler)).get("/scales").json()
    assert told["low"] < told["high"]
    assert max(tick["score"] for tick in told["scales"][1]["ticks"]) < 60


def test_a_mapper_without_inverse_scores_and_translates_nothing(make_ruler):
    client = TestClient(make_app(make_ruler({"_target_": "mimi_lightning.models.mappers.Embedding"})))
    assert "native" in send(client, grey(100))[0]
    assert client.get("/scales").json()["scales"][0]["ticks"] == []
    answer = client.get("/translate", params={"from": "lab", "to": "proxy", "score": 1})
    assert (answer.status_code, "has no inverse" in answer.json()["error"]) == (422, True)


def test_the_endpoint_describes_itself(client):
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/score", "/translate", "/scales"}
    form = described["paths"]["/score"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"]["properties"]["pictures"]["type"] == "array"
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404  # they would load a CDN


@pytest.mark.parametrize(
    "path", ["upload", "upload?upload_id=1", "deep_link", "proxy=http://127.0.0.1/", "file=/etc/passwd"]
)
def test_what_gradio_could_beside_the_page_is_closed(client, path):
    for method in ("get", "post"):
        assert client.request(method, f"/gradio_api/{path}").json() == {"error": "There is nothing here."}


def test_the_page_may_fetch_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
