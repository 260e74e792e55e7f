"""Labels of the scene and distortion tasks: words of the annotations table, as numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.vocabulary import DISTORTION_GROUPS, GROUP_OF, SCENES

UNKNOWN = -1
KNOWN = {"scenes": SCENES, "distortion": tuple(GROUP_OF)}  # by column of the annotations table
FORM = "a mapping such as {distortion: {their word: known word}, scenes: {their word: known word}}"
Translation = Mapping[str, Mapping[str, str]]


def make_labels(annotations: pd.DataFrame, translate: Translation) -> dict[str, np.ndarray]:
    """Make the columns that a batch brings for the scene and distortion tasks.

    Args:
        annotations: annotations table of N images; an empty word is no label.
        translate: by column, `scenes` or `distortion`: words of a dataset to known ones, or to "" for no label.

    Returns:
        `scenes`, float32 [N, 9] of ones and zeros, all zeros without a label; `distortion`, the group of the fine
        label, int64 [N], -1 without one.

    Raises:
        DatasetError: words that are neither known nor translated; names them all.
    """
    table = annotations.reset_index(drop=True)
    columns = {"scenes": table["scenes"].str.split(";").explode(), "distortion": table["distortion"]}
    words = {column: _translated(found, translate.get(column, {})) for column, found in columns.items()}
    unknown = {column: found[~found.isin(KNOWN[column])] for column, found in words.items()}
    if any(map(len, unknown.values())):
        raise DatasetError(_describe(unknown, table["dataset"]))
    scenes, distortion = np.zeros((len(table), len(SCENES)), np.float32), np.full(len(table), UNKNOWN)
    scenes[words["scenes"].index, [SCENES.index(scene) for scene in words["scenes"]]] = 1
    distortion[words["distortion"].index] = [DISTORTION_GROUPS.index(GROUP_OF[fine]) for fine in words["distortion"]]
    return {"scenes": scenes, "distortion": distortion}


def check_translation(translate: Translation) -> None:
    """Refuse a translation of other columns than `scenes` and `distortion`, or to unknown words.

    Raises:
        ConfigError: names the column or the words.
    """
    if not isinstance(translate, Mapping):
        raise ConfigError(f"tasks.translate={translate}: expected {FORM}.")
    for column, words in translate.items():
        if column not in KNOWN or not isinstance(words, Mapping):
            raise ConfigError(f"tasks.translate={{{column}: {words}}}: expected {FORM}.")
        for word, known in words.items():
            if known not in ("", *KNOWN[column]):
                raise ConfigError(
                    f"tasks.translate.{column} makes '{known}' of '{word}', which is not known either.\n"
                    f"{_list_known([column])}"
                )


def _translated(words: pd.Series, translate: Mapping[str, str]) -> pd.Series:
    """Words by row, without empty ones."""
    words = words.map(lambda word: translate.get(word, word))
    return words[words != ""]


def _describe(unknown: Mapping[str, pd.Series], datasets: pd.Series) -> str:
    unknown = {column: words for column, words in unknown.items() if len(words)}
    owners = sorted({datasets[row] for words in unknown.values() for row in words.index})
    form = {column: dict.fromkeys(sorted(set(words)), "") for column, words in unknown.items()}
    return (
        f'Words in {", ".join(owners)} that the tasks do not know. Translate each to a known one, or to "" for no '
        "label, under `tasks` (docs/own-dataset.md), or set tasks=none:\n"
        f"{OmegaConf.to_yaml({'translate': form})}{_list_known(unknown)}"
    )


def _list_known(columns: Collection[str]) -> str:
    return "\n".join(f"Known {column}: {', '.join(KNOWN[column])}." for column in columns)
