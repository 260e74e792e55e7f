"""Files and folders that appear whole or not at all."""

import errno
import os

import pytest

from mimi_lightning.files import aside, explain, folder_aside


def _write_half(draft):
    draft.write_text("ne")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    file = tmp_path / "table.csv"
    with aside(file) as draft:
        draft.write_text("old")
    with pytest.raises(OSError, match="No space left") as caught, aside(file) as draft:
        _write_half(draft)
    assert caught.value.filename == str(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_file_before_may_be_kept(tmp_path):
    file, former = tmp_path / "last", tmp_path / "former"
    for text in ("1", "2", "3"):
        with aside(file, former=former) as draft:
            draft.write_text(text)
    assert (former.read_text(), file.read_text()) == ("2", "3")


def test_files_appear_together(tmp_path):
    folder = tmp_path / "report"
    with folder_aside(folder) as work:
        (work / "figures").mkdir()
        (work / "figures" / "a.png").write_text("1")
        assert not folder.exists()
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(OSError, match="No space left"), folder_aside(folder) as work:
        _write_half(work / "b.csv")
    with folder_aside(folder) as work:
        (work / "figures").mkdir()
        (work / "figures" / "a.png").write_text("2")
        assert (folder / "figures" / "a.png").read_text() == "1"
    files = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert files == {"figures/a.png": "2", "mine.txt": "kept"}
    assert list(tmp_path.iterdir()) == [folder]


def test_what_the_system_refuses_is_explained_in_a_message():
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "last.ckpt")
    assert explain(full).startswith("last.ckpt: No space left on device.\nMake room")
    assert explain(PermissionError(errno.EACCES, "Permission denied", "out")) == "out: Permission denied."
    assert explain(OSError("30 requested and 0 written")) == "30 requested and 0 written."
