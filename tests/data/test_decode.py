"""How pictures are read: one rule for each kind, by value, and the same for the size, the check and the cache."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mimi_lightning.data import cache_build
from mimi_lightning.data.cache_build import ensure
from mimi_lightning.data.check import read_digest
from mimi_lightning.data.decode import image_size, is_plain, read_image
from mimi_lightning.data.images import DecodedPicture, ImageFiles, TestView
from mimi_lightning.errors import DatasetError

ORIENTATION = 0x0112
CORNERS = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40  # two rows of three pixels, all different
SEEN = {  # the same file by each orientation: what is to be seen
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.T,
    6: CORNERS[::-1].T,
    7: CORNERS[::-1, ::-1].T,
    8: CORNERS.T[::-1],
}


def saved(path, image, **options):
    image.save(path, **options)
    return path


def grey(pixels):
    return np.stack([pixels] * 3, axis=-1)


def exif(orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


def test_grey_of_16_bits_is_divided_by_257_and_rounded(tmp_path):
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    expected = grey(np.rint(values / 257).astype(np.uint8))
    for name in ("a.png", "a.tif"):
        assert np.array_equal(read_image(saved(tmp_path / name, Image.fromarray(values))), expected)


def test_a_picture_of_16_bits_is_that_of_8_bits(tmp_path):
    eight = saved(tmp_path / "8.png", Image.fromarray(CORNERS))
    sixteen = saved(tmp_path / "16.png", Image.fromarray(CORNERS.astype(np.uint16) * 257))
    assert read_image(sixteen) == read_image(eight)
    assert read_digest(sixteen) == read_digest(eight)


def test_of_colour_of_16_bits_the_high_byte_is_taken(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    values = np.random.default_rng(0).integers(0, 2**16, (4, 5, 3)).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in values)
    head = struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    shown = np.asarray(read_image(tmp_path / "a.png"))
    assert np.array_equal(shown, values >> 8)
    assert np.abs(shown - values / 257).max() <= 1


@pytest.mark.parametrize("orientation", SEEN)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_a_picture_is_turned_as_its_tag_says_and_its_size_tells(tmp_path, name, orientation):
    path = saved(tmp_path / name, Image.fromarray(grey(CORNERS)), exif=exif(orientation), quality=100)
    seen, shown = grey(SEEN[orientation]), np.asarray(read_image(path))
    assert shown.shape == seen.shape
    assert np.abs(shown.astype(int) - seen).max() <= (20 if name == "a.jpg" else 0)
    assert image_size(path) == seen.shape[1::-1] == ImageFiles([path], 100).size(0)
    assert is_plain(path) == (orientation == 1 or name == "a.tif")  # a TIFF has always been turned


def test_a_damaged_tag_turns_nothing(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (3, 2)), exif=b"Exif\0\0no tags")
    assert read_image(path).size == image_size(path) == (3, 2)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_shows_mid_grey(tmp_path, mode):
    alpha = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.full((16, 16), 200, np.uint8)).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    expected = np.rint((alpha / 255.0) * 200 + (1 - alpha / 255.0) * 128)
    assert np.array_equal(read_image(saved(tmp_path / "a.png", image)), grey(expected))


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_a_transparent_colour_shows_mid_grey(tmp_path, mode):
    image = Image.fromarray(CORNERS).convert(mode)
    first = image.getpixel((0, 0))
    shown = np.asarray(read_image(saved(tmp_path / "a.png", image, transparency=first)))
    assert shown[0, 0].tolist() == [128] * 3
    assert np.array_equal(shown[1], grey(CORNERS)[1])
    assert not is_plain(tmp_path / "a.png")


def test_palettes_and_bits_become_what_they_show(tmp_path):
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([9, 8, 7, 250, 20, 30])
    assert np.asarray(read_image(saved(tmp_path / "p.png", palette))).tolist() == [[[9, 8, 7], [250, 20, 30]]]
    bits = Image.fromarray(np.array([[False, True]]))
    assert np.asarray(read_image(saved(tmp_path / "1.png", bits))).tolist() == [[[0] * 3, [255] * 3]]


def test_inks_are_taken_from_white(tmp_path):
    inks = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    path = saved(tmp_path / "a.tif", Image.fromarray(inks, "CMYK"))
    key = 255.0 - inks[..., 3:]
    assert np.abs(np.asarray(read_image(path)) - (255.0 - inks[..., :3]) * key / 255).max() <= 0.5


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_of_32_bits_are_refused(tmp_path, kind):
    path = saved(tmp_path / "a.tif", Image.fromarray(np.zeros((4, 4), kind)))
    with pytest.raises(DatasetError, match=r"a\.tif cannot be read: .* 32 bits, .*Save it with 8 or 16 bits"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp"])
def test_plain_pictures_are_passed_on_without_a_copy(tmp_path, name):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = saved(tmp_path / name, Image.fromarray(pixels))
    image = read_image(path)
    assert isinstance(image, type(Image.open(path)))  # the decoder's own, no other image made of it
    assert np.array_equal(image, Image.open(path))
    assert is_plain(path)


def test_the_six_datasets_are_plain(miniature):
    """In the formats of their owners: of no kind whose reading has changed, so that published figures stay."""
    paths = [path for path in miniature.rglob("*") if path.suffix in (".bmp", ".png", ".jpg", ".JPG")]
    assert len(paths) > 100
    assert all(is_plain(path) for path in paths)


def test_a_cache_of_before_is_kept_but_for_pictures_that_were_read_wrongly(tmp_path, monkeypatch):
    folder = tmp_path / "set"
    folder.mkdir()
    saved(folder / "plain.png", Image.fromarray(grey(CORNERS)))
    saved(folder / "deep.png", Image.fromarray(CORNERS.astype(np.uint16) * 257))
    saved(folder / "turned.png", Image.fromarray(grey(CORNERS)), exif=exif(6))
    names = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr(cache_build, "RECIPE", 1)
    assert ensure(tmp_path / "pixels", folder, names, 100).settings["recipe"] == 1
    monkeypatch.undo()
    decoded, load = [], ImageFiles.__getitem__
    monkeypatch.setattr(ImageFiles, "__getitem__", lambda self, row: decoded.append(names[row]) or load(self, row))
    cache = ensure(tmp_path / "pixels", folder, names, 100)
    assert decoded == ["deep.png", "turned.png"]
    for name in names:
        assert np.array_equal(cache.read(cache.images[name]), TestView(100)(DecodedPicture(folder / name, 100)))
    assert ensure(tmp_path / "pixels", folder, names, 100).built == cache.built


def test_whatever_a_decoder_comes_across_is_said(tmp_path):
    """Pillow ends in errors of indices, and of formats that it has no decoder for."""
    (tmp_path / "a.qoi").write_bytes(struct.pack(">4sIIBBB", b"qoif", 4, 4, 3, 0, 0xFE))
    (tmp_path / "a.dds").write_bytes(b"DDS " + struct.pack("<7I", 124, 0x1007, 4, 4, 0, 0, 0) + bytes(96))
    for name in ("a.qoi", "a.dds"):
        with pytest.raises(DatasetError, match=rf"{name} cannot be read: "):
            read_image(tmp_path / name)
    with pytest.raises(DatasetError, match=r"a\.dds cannot be read: Unknown pixel format"):
        image_size(tmp_path / "a.dds")
