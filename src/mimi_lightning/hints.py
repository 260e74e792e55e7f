"""What is said of a name that a configuration does not know: the nearest that it does, or where it went."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

MOVED = {
    "data.resize": "view.train.resize",
    "data.crop": "view.train.crop",
    "data.test_resize": "view.test.resize",
    "data.small_images": "view.train.small_images",
}

# Options of Hydra's plugins, and the extras that bring them.
BROUGHT = {
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
}


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Of a key that is not defined, among those that are."""
    if key in MOVED:
        return f"{key} is now {MOVED[key]}."
    return f"Unknown key {key}.{_nearest(key, known)} All keys: python -m mimi_lightning --cfg job"


def missing_key(key: str, options: Collection[str]) -> str:
    """Of a key that is needed; where it is a group, with its options."""
    if not options:
        return f"{key} is missing: it can be changed, not removed."
    return f"{key} is missing. Choose one, such as {key}={min(options)}. There are: {', '.join(options)}"


def unknown_option(group: str, option: str, options: Iterable[str]) -> str:
    """Of an option that a group does not have."""
    if extra := BROUGHT.get(f"{group}={option}"):
        return needs_extra(f"{group}={option}", extra)
    own = ". One of your own lies in dataset/ of --config-dir DIR." if group == "dataset" else ""
    return f"There is no {group}={option}.{_nearest(option, options)} There are: {', '.join(options)}{own}"


def needs_extra(option: str, extra: str) -> str:
    """Of an option whose packages are not installed."""
    return f'{option} needs: pip install "mimi-lightning[{extra}]"'


def _nearest(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {found[0]}?" if found else ""
