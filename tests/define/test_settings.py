"""Settings: defaults, environments, mistakes."""

from pathlib import Path

import pytest

from gristmill.define import read_settings
from gristmill.define.settings import branch_of
from gristmill.errors import DefinitionError, UsageError


def write(folder: Path, text: str) -> Path:
    (folder / "gristmill.toml").write_text(text)
    return folder


def test_a_folder_without_settings_has_defaults(tmp_path: Path) -> None:
    assert read_settings(tmp_path).project.modules == ("pipeline",)


def test_an_environment_overrides_single_keys(tmp_path: Path) -> None:
    text = '[project]\nname = "shop"\nbranch = "dev"\n[env.prod.project]\nbranch = "main"\n'
    root = write(tmp_path, text)
    settings = read_settings(root, environment="prod")
    assert (settings.project.name, settings.project.branch) == ("shop", "main")
    with pytest.raises(UsageError, match=r"no \[env.prd\]"):
        read_settings(root, environment="prd")


def test_an_unknown_key_names_the_file_and_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError) as caught:
        read_settings(write(tmp_path, "[project]\nnmae = 'x'\n"))
    assert "nmae" in str(caught.value)
    assert "gristmill.toml" in str(caught.value)
    assert "[project] name modules" in str(caught.value)


def test_the_branch_comes_from_the_flag_then_the_environment_then_the_settings(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path, '[project]\nbranch = "dev"\n'))
    assert branch_of(settings, "x", environ={"GRISTMILL_BRANCH": "y"}) == "x"
    assert branch_of(settings, None, environ={"GRISTMILL_BRANCH": "y"}) == "y"
    assert branch_of(settings, None, environ={}) == "dev"
