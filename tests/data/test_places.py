"""Datasets and caches in object storage: the same tables, the same batches, and what is said where it cannot be."""

import pickle
from pathlib import Path

import fsspec
import pytest
import torch
from omegaconf import OmegaConf

from mimi_lightning import config
from mimi_lightning.data import places
from mimi_lightning.data.cache import PixelFile
from mimi_lightning.data.cache_build import ensure
from mimi_lightning.data.check import check_datasets
from mimi_lightning.data.datamodule import MixedDataModule
from mimi_lightning.data.decode import image_size, read_image
from mimi_lightning.data.features import keep_features
from mimi_lightning.data.owners import table
from mimi_lightning.data.owners.folder import leaves_folder
from mimi_lightning.data.partitions import Protocol
from mimi_lightning.data.places import NOWHERE, file_facts, place, reached
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.train import make_data

BUCKET = "memory://bucket/iqa"
WORDS = ["view.train.crop=48", "view.train.resize=50", "data.quota=2", "data.epoch=4", "data.workers=0"]


@pytest.fixture(scope="module")
def storage():
    """The storage in memory of fsspec, empty again behind the tests."""
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/bucket", recursive=True)


@pytest.fixture(scope="module")
def bucket(storage, miniature):
    for file in (path for path in miniature.rglob("*") if path.is_file()):
        storage.pipe(f"/bucket/iqa/{file.relative_to(miniature)}", file.read_bytes())
    return BUCKET


def settings(root, store, *words):
    return OmegaConf.to_container(
        config.load([f"paths.datasets={root}", f"splits.store={store}", *WORDS, *words]), resolve=True
    )


def module(root, store, *words) -> MixedDataModule:
    data = make_data(settings(root, store, *words))
    data.setup()
    return data


@pytest.fixture(scope="module")
def from_disk(miniature, tmp_path_factory):
    return module(miniature, tmp_path_factory.mktemp("splits"))


def assert_same_batches(one: MixedDataModule, other: MixedDataModule) -> None:
    for loader in ("train_dataloader", "test_dataloader"):
        for a, b in zip(getattr(one, loader)(), getattr(other, loader)(), strict=True):
            assert a.pop("broken") == b.pop("broken") == []
            assert a.keys() == b.keys()
            assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_place_on_a_disk_is_a_path_and_nothing_else(tmp_path):
    assert place(str(tmp_path)) == place(tmp_path) == place(f"file://{tmp_path}") == tmp_path
    assert type(place(f"file://{tmp_path}")) is type(Path())
    assert str(place(BUCKET) / "a.png") == f"{BUCKET}/a.png"
    assert str(place(place(BUCKET))) == BUCKET


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://bucket/iqa", r's3:// needs .*: pip install "mimi-lightning\[s3\]"'),
        ("gs://bucket/iqa", r'gs:// needs .*: pip install "mimi-lightning\[gcs\]"'),
        ("abfs://bucket/iqa", "abfs:// needs .*: the package that speaks it"),
    ],
)
def test_a_package_that_is_not_installed_is_named_by_its_pip_line(address, said, monkeypatch):
    def absent(protocol):
        raise ImportError("the package that speaks it")

    monkeypatch.setattr(fsspec, "get_filesystem_class", absent)
    places._refuse_unspoken.cache_clear()
    with pytest.raises(ConfigError, match=said):
        place(address)


def test_an_unknown_storage_is_refused():
    with pytest.raises(ConfigError, match=r"s4:// is no storage that fsspec knows"):
        place("s4://bucket")


def test_what_a_storage_says_names_the_place():
    with pytest.raises(OSError, match=r"memory://bucket cannot be reached: refused"), reached(place("memory://bucket")):
        raise ConnectionRefusedError("refused")
    with pytest.raises(FileNotFoundError, match=r"^gone"), reached(place("memory://bucket")):
        raise FileNotFoundError("gone")


@pytest.mark.parametrize("workers", [0, 2])
def test_tables_and_batches_are_those_of_the_disk(from_disk, bucket, tmp_path, workers):
    streamed = module(bucket, tmp_path, f"data.workers={workers}")
    assert streamed.table.equals(from_disk.table)
    assert_same_batches(from_disk, streamed)


def test_partitions_are_stored_beside_the_datasets_and_read_again(from_disk, bucket, storage):
    def stored():
        return storage.cat(storage.glob("/bucket/iqa/splits/*/*.csv"))

    first, written = module(bucket, f"{bucket}/splits"), stored()
    assert sorted(Path(name).stem for name in written) == sorted(from_disk.names)
    assert module(bucket, f"{bucket}/splits").parts.sha256 == first.parts.sha256 == from_disk.parts.sha256
    assert stored() == written


def test_a_cache_is_built_on_a_disk_and_read_there_or_from_where_it_was_copied(from_disk, bucket, storage, tmp_path):
    with pytest.raises(DatasetError, match=r"no complete cache memory://.*Build it on a disk \(data.cache=DIR"):
        module(bucket, tmp_path, "data.cache=true")
    assert_same_batches(from_disk, module(bucket, tmp_path, f"data.cache={tmp_path}/cache"))
    for file in (tmp_path / "cache").glob("*.pixels"):
        storage.pipe(f"{bucket}/cache/{file.name}", file.read_bytes())
    streamed = module(bucket, tmp_path, "data.cache=true", "data.workers=2")
    assert_same_batches(from_disk, streamed)
    stored = streamed.images[50].caches[0]
    entry = next(iter(stored.images.values()))
    assert (pickle.loads(pickle.dumps(stored)).read(entry) == stored.read(entry)).all()


def test_a_stored_cache_of_other_pictures_is_refused(bucket, storage, tmp_path):
    storage.pipe("/bucket/few/set/a.png", storage.cat(next(iter(storage.glob("/bucket/iqa/kadid10k/images/*.png")))))
    few = place("memory://bucket/few")
    built = ensure(tmp_path / "set-64.pixels", few / "set", ["a.png"], 64)
    storage.pipe("/bucket/few/set-64.pixels", built.path.read_bytes())
    assert ensure(few / "set-64.pixels", few / "set", ["a.png"], 64).built == built.built
    with pytest.raises(DatasetError, match="holds other pictures than the datasets do now"):
        ensure(few / "set-64.pixels", few / "set", ["a.png", "b.png"], 64)
    stored = PixelFile(few / "set-64.pixels")
    storage.rm("/bucket/few/set-64.pixels")
    with pytest.raises(DatasetError, match=r"The cache memory://bucket/few/set-64.pixels cannot be read"):
        stored.read(stored.images["a.png"])


def test_facts_change_with_an_object_and_are_those_of_files_alone(storage, tmp_path):
    for name in ("a.png", "b.png", "folder/c.png"):
        storage.pipe(f"/bucket/facts/{name}", b"123")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"123")
    for root in ("memory://bucket/facts", str(tmp_path)):
        asked = [f"{root}/{name}" for name in ("b.png", "folder/c.png", "folder", "d.png", "nowhere/e.png")]
        first, second, *absent = file_facts(asked)
        assert first[0] == second[0] == 3
        assert absent == [NOWHERE] * 3
    before = file_facts(["memory://bucket/facts/a.png"])
    storage.pipe("/bucket/facts/a.png", b"321")
    assert file_facts(["memory://bucket/facts/a.png"]) != before
    assert file_facts([]) == []


def test_a_table_of_pictures_is_read_and_refused_as_on_a_disk(storage):
    storage.pipe("/bucket/own/scores.csv", "image,mos\nPictures/A.png,1\nPictures/b.png,2\n".encode("utf-16"))
    for name in ("a.png", "b.png"):
        storage.pipe(f"/bucket/own/Pictures/{name}", b"")
    folder = place("memory://bucket/own")
    columns = {"file": "scores.csv", "image": "image", "mos": "mos"}
    assert table.read(folder, **columns)["mos"].tolist() == ["1", "2"]
    assert len(table.read(folder, **{**columns, "file": "*.csv"})) == 2
    storage.rm("/bucket/own/Pictures/b.png")
    with pytest.raises(DatasetError, match=r"memory://bucket/own/scores.csv labels Pictures/b.png"):
        table.read(folder, **columns)


def test_names_that_lead_out_of_a_folder_in_storage_are_told():
    names = {"a/b.png": False, "a/../b.png": False, "..b/c.png": False, "../b.png": True, "a/../../b": True, "/b": True}
    assert leaves_folder(place(BUCKET), names) == names


def test_a_check_finds_the_same(bucket, miniature, tmp_path):
    cfg = config.load([])
    protocol = Protocol("generated", tmp_path, 1)
    found = [
        check_datasets(cfg.datasets, place(root), 1, protocol, progress=False).as_dict() for root in (miniature, bucket)
    ]
    assert found[0]["ok"]
    assert str(found[1]).replace(bucket, str(miniature)) == str(found[0])


def test_what_a_storage_says_is_said_of_the_picture(storage, monkeypatch):
    with pytest.raises(DatasetError, match=r"The image memory://bucket/a.png is missing"):
        read_image(place("memory://bucket/a.png"))

    def no_credentials(*_, **__):
        raise RuntimeError("Unable to locate credentials")

    monkeypatch.setattr(type(storage), "cat_file", no_credentials)
    monkeypatch.setattr(type(storage), "_open", no_credentials)
    for read in (read_image, image_size):
        with pytest.raises(DatasetError, match=r"a.png cannot be read: .* cannot be reached: Unable to locate"):
            read(place("memory://bucket/a.png"))


def test_features_need_a_disk(bucket, from_disk, tmp_path):
    with pytest.raises(DatasetError, match=r"data\.feature_store=DIR on a disk"):
        keep_features(from_disk, None, settings(bucket, tmp_path), {}, torch.device("cpu"))
