"""`make photos`, with an apt-get and a dpkg that bring small pictures."""

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from mimi_lightning.data.miniature.contents import list_photos
from mimi_lightning.errors import DatasetError

SCRIPT = Path(__file__).parents[2] / "experiments" / "miniature" / "photos.py"


@pytest.fixture(scope="module")
def photos():
    spec = importlib.util.spec_from_file_location("photos", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Write a Python program into the one folder where programs are looked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(name, code):
        (folder / name).write_text(f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n{code}")
        (folder / name).chmod(0o755)

    return write


@pytest.fixture
def packages(photos, tools, tmp_path):
    """Every listed photograph in its package but for LIST's last one."""
    Image.new("RGB", (8, 8)).save(tmp_path / "small.jpg")
    tools("apt-get", "for name in sys.argv[2:]:\n    Path(f'{name}_1%3a2_all.deb').write_text('')\n")
    tools(
        "dpkg",
        f"""
for line in Path({str(photos.LIST)!r}).read_text().splitlines()[1:-1]:
    _, package, file = line.split(",")
    if Path(sys.argv[2]).name.startswith(package + "_"):
        target = Path(sys.argv[3] + file)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path({str(tmp_path / "small.jpg")!r}).read_bytes())
""",
    )


def test_every_photograph_is_listed_once(photos):
    listed = pd.read_csv(photos.LIST)
    assert listed["photograph"].is_unique
    assert not listed.duplicated(["package", "file"]).any()


def test_photographs_of_packages_and_of_libraries_come_together(photos, packages, tmp_path, capsys):
    folder = tmp_path / "photos"
    photos.get_photos(folder)
    *listed, left_out = pd.read_csv(photos.LIST).itertuples()
    names = {path.name for path in list_photos(folder)}
    assert names == {row.photograph for row in listed} | {f"{name}.bmp" for name, _ in photos.bundled_photos()}
    assert f"Left out: this version of {left_out.package} has no {left_out.file}" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "bin", "small.jpg"}


def test_a_folder_of_photographs_is_left_as_it_is(photos, tools, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "mine.png")
    photos.get_photos(folder)
    assert "holds 1 photographs already; delete it" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["mine.png"]


def test_without_apt_or_a_package_nothing_is_left_and_the_remedy_is_told(photos, tools, tmp_path):
    with pytest.raises(DatasetError, match=r"(?s)No such file.*apt-get'\nThis takes apt-get.*photographs of your own"):
        photos.get_photos(tmp_path / "photos")
    tools("apt-get", "sys.exit('E: Unable to locate package mate-backgrounds')")
    with pytest.raises(DatasetError, match=r"cannot be had: E: Unable to locate package mate-backgrounds\n"):
        photos.get_photos(tmp_path / "photos")
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]
