"""Giving a checkpoint away and getting one: a folder of three files, here or in a repository of the Hugging Face hub.

| file | holds |
|---|---|
| model.safetensors | the whole model, see `exporting.weights` |
| config.json | what it is built from, to look at |
| README.md | its model card, see `card` |
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError

from mimi_lightning.errors import ConfigError
from mimi_lightning.evaluation.study import read_run
from mimi_lightning.exporting.weights import write_safetensors
from mimi_lightning.files import work_folder
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.card import card_of_checkpoint, card_of_run
from mimi_lightning.run_folder import RunFolder

HUB = "hf://"
WEIGHTS, DESCRIPTION, CARD = FILES = "model.safetensors", "config.json", "README.md"


def push(checkpoint: Path, target: str, public: bool = False) -> str:
    """Give a checkpoint away, with its model card.

    Args:
        checkpoint: file, of a run or pulled.
        target: a folder that is not there yet or empty, or hf://OWNER/NAME, a repository of the hub. What that holds
            is kept in its history; a new one is private.
        public: everybody may see a new repository.

    Returns:
        Where it is: the folder, or the address of the repository.

    Raises:
        ConfigError: no checkpoint, a folder with something in it, or a hub that cannot be reached or does not let.
    """
    model = QualityModel.load(checkpoint)
    card = _find_card(checkpoint, model, Path(target).name)
    if not _on_hub(target):
        with _new_folder(Path(target)) as folder:
            _write(model, card, folder)
        return target
    with TemporaryDirectory() as folder, _said(target):
        _write(model, card, Path(folder))
        repository = HfApi().create_repo(target.removeprefix(HUB), private=not public, exist_ok=True)
        HfApi().upload_folder(repo_id=repository.repo_id, folder_path=folder, commit_message="Push a checkpoint")
    return str(repository)


def pull(source: str, folder: Path) -> Path:
    """Get a checkpoint that somebody has pushed.

    Args:
        source: hf://OWNER/NAME, perhaps with @REVISION (a branch, a tag or a commit), or a folder.
        folder: where to put it; not there yet, or empty.

    Returns:
        The checkpoint: model.safetensors in the folder.

    Raises:
        ConfigError: a source that cannot be reached or holds no such checkpoint, or a folder with something in it.
    """
    there = _download(source) if _on_hub(source) else Path(source)
    if not (there / WEIGHTS).is_file():
        raise ConfigError(f"{source} holds no {WEIGHTS}: nobody has pushed a checkpoint there.")
    QualityModel.load(there / WEIGHTS)  # or refuse what is none
    with _new_folder(folder) as draft:
        for name in FILES:
            if (there / name).is_file():  # the model is whole without the others
                shutil.copyfile(there / name, draft / name)
    return folder / WEIGHTS


def _on_hub(place: str) -> bool:
    if "://" in place and not place.startswith(HUB):
        raise ConfigError(f"{place} is neither a folder nor {HUB}OWNER/NAME, a repository of the Hugging Face hub.")
    return place.startswith(HUB)


def _download(source: str) -> Path:
    repository, _, revision = source.removeprefix(HUB).partition("@")
    with _said(source):
        return Path(HfApi().snapshot_download(repository, revision=revision or None, allow_patterns=[*FILES]))


def _find_card(checkpoint: Path, model: QualityModel, name: str) -> str:
    """The card beside a pulled checkpoint, that of the run whose best one it is, or one that knows less."""
    if checkpoint.name == WEIGHTS and checkpoint.with_name(CARD).is_file():
        return checkpoint.with_name(CARD).read_text(encoding="utf-8")
    run = RunFolder(checkpoint.resolve().parent.parent)
    if run.finished and run.file("checkpoint") == checkpoint.resolve():
        written = run.file("card")
        # Runs of former versions have no card, but all that it is made of.
        return written.read_text(encoding="utf-8") if written.is_file() else card_of_run(read_run(run))
    return card_of_checkpoint(name, model)


def _write(model: QualityModel, card: str, folder: Path) -> None:
    write_safetensors(model, folder / WEIGHTS)
    described = {"hyper_parameters": model.hparams}
    model.on_save_checkpoint(described)
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder that appears with all its files or not at all: yields where to write them."""
    folder = folder.resolve()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already and not empty. Name another folder, or remove it first.")
    try:
        with work_folder(folder) as draft:
            yield draft
            draft.replace(folder)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error}") from error


@contextmanager
def _said(place: str) -> Iterator[None]:
    """Say what the hub says in one message."""
    try:
        yield
    except (HTTPError, OSError, ValueError) as error:
        raise ConfigError(
            f"{place}: {error}\nIs the name right, is there a network, are you logged in (hf auth login)?"
        ) from error
