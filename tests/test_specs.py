"""Classes that a configuration names."""

import pytest
import torch

from mimi_lightning.errors import ConfigError
from mimi_lightning.specs import build, find_class


@pytest.mark.parametrize("name", ["torch.optim.Nope", "nope.Nope", "Nope", "", None, 3])
def test_a_class_that_is_not_there_is_told_once(caplog, name):
    with pytest.raises(ConfigError, match=f"_target_={name}: there is no such class"):
        find_class({"_target_": name}, torch.optim.Optimizer)
    assert not caplog.records  # which Python prints where nobody listens


@pytest.mark.parametrize("name", ["os.system", "torch.optim", "torch.nn.Linear"])
def test_nothing_but_a_class_of_the_kind_is_called(name):
    with pytest.raises(ConfigError, match=f"_target_={name}: expected a Optimizer"):
        build({"_target_": name}, torch.optim.Optimizer)


def test_what_an_import_lacks_is_told(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.py").write_text("import not_installed")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="No module named 'not_installed'"):
        find_class({"_target_": "mine.own.Mapper"}, torch.nn.Module)
