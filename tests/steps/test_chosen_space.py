"""What is said of the space that --space=auto chose, and of photographs too few to learn from."""

from types import SimpleNamespace

import pytest

from pnas_tf.config import SpaceConfig
from pnas_tf.data.run_space import space_for
from pnas_tf.interop import pretrained_files
from pnas_tf.run.settings import Configs
from pnas_tf.run.terminal import TERMINAL
from pnas_tf.space.registry import named_space
from pnas_tf.steps.chosen_space import tell_space
from pnas_tf.steps.programs import program_of

CIFAR = named_space("cifar", classes=10)


def told(capsys, *, side=200, images=160, space="auto", source="", searched=None):
    facts = SimpleNamespace(short_side=side, class_names=("a", "b"), training_examples=images)
    config = SpaceConfig(space)
    found = space_for(facts, config, pretrained=bool(source), searched=searched)
    call = SimpleNamespace(
        data=SimpleNamespace(facts=facts),
        configs=Configs([config]),
        source=source,
        searched_space=searched,
        space=found,
    )
    with TERMINAL.speaking():
        tell_space(call)
    return capsys.readouterr().out


def test_a_choice_for_few_photographs_or_for_weights_is_said(capsys):
    choose = "; --space and --resolution choose others"
    assert f"space tiny at 64 px, for 160 photographs{choose}" in told(capsys)
    small = told(capsys, side=32, images=50_000, source="imagenet")
    assert f"space lite at 64 px, for images of 32 px{choose}" in small
    after = told(capsys, source="runs/one", searched=CIFAR)
    assert f"space cifar of runs/one at 96 px, for 160 photographs{choose}" in after
    assert told(capsys, space="lite", source="imagenet") == ""
    assert told(capsys, side=32) == told(capsys, images=5_000) == ""


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("space", ["auto", "tiny", "lite", "proxyless"])
def test_what_helps_few_photographs_takes_a_resolution_for_them(
    space, installed, monkeypatch, tmp_path, capsys
):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / pretrained_files.PACKAGES["efficientnet_lite0"]).touch()
    found = SimpleNamespace(submodule_search_locations=[tmp_path]) if installed else None
    monkeypatch.setattr(pretrained_files.importlib.util, "find_spec", lambda name: found)
    text = told(capsys, space=space)
    assert "--space=lite" not in text
    assert ("--pretrained=imagenet --space=auto" in text) == (space == "tiny")
    assert ("its weights are installed" in text) == installed
    assert (pretrained_files.INSTALL in text) != installed


@pytest.mark.parametrize("command", ["latency-table", "search"])
def test_programs_that_make_something_for_a_space_say_which(command):
    assert program_of(command).begin is tell_space
