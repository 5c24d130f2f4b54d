"""The one setting of the address: which buttons it turns on, and what the wheel says of it."""

import importlib.util
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

from book._ext.zerobook import address


@pytest.mark.parametrize(
    ("repository", "colab"),
    [("https://github.com/someone/zero", address.COLAB), ("https://gitlab.com/someone/zero", "")],
)
def test_colab_is_offered_for_github_alone(monkeypatch, repository, colab):
    """For another place the theme warns that Colab cannot read it, and a warning ends the build."""
    monkeypatch.setattr(address, "ADDRESS", repository)
    config = SimpleNamespace(html_theme_options={"kept": True})
    address._configure(None, config)
    assert config.html_theme_options["kept"]
    assert config.html_theme_options["repository_url"] == repository
    assert config.html_theme_options["launch_buttons"]["colab_url"] == colab


def test_without_an_address_there_is_no_button(monkeypatch):
    monkeypatch.setattr(address, "ADDRESS", "")
    config = SimpleNamespace(html_theme_options={})
    address._configure(None, config)
    assert config.html_theme_options == {}


def test_a_button_for_colab_leads_to_the_branch_of_its_own():
    urls = {
        f"{address.COLAB}/github/someone/zero/blob/main/notebooks/01.ipynb": "blob/colab/notebooks",
        "https://github.com/someone/zero/blob/main/notebooks/01.ipynb": "blob/main/notebooks",
    }
    buttons = [{"type": "link", "url": url} for url in urls]
    context = {"header_buttons": [{"type": "group", "buttons": buttons}, {"type": "script"}]}
    address._lead_to_colab_branch(None, "", "", context, None)
    for button, place in zip(buttons, urls.values(), strict=True):
        assert f"/{place}/" in button["url"]


@pytest.mark.parametrize("given", ["https://github.com/someone/zero", ""])
def test_the_line_that_installs_needs_no_address(monkeypatch, given):
    monkeypatch.setattr(address, "ADDRESS", given)
    lines = address.Install.lines(None)
    line = lines[lines.index("```bash") + 1]
    assert shlex.split(line)[2:] == (
        [f"zerocam[draw] @ git+{given}@main"] if given else [".[draw]"]
    )
    assert ("folder" in lines[0]) == (not given)


@pytest.mark.parametrize("given", ["https://github.com/someone/zero.git", ""])
def test_the_wheel_names_the_address_that_the_site_names(monkeypatch, given):
    monkeypatch.setenv("ZEROCAM_REPOSITORY", given)
    monkeypatch.setenv("ZEROCAM_SITE", "")
    root = Path(__file__).parents[1]
    urls = ProjectMetadata(str(root), PluginManager()).core.urls
    site = importlib.util.module_from_spec(address.__spec__)  # reads the setting anew
    address.__spec__.loader.exec_module(site)
    wanted = {"Source": site.ADDRESS, "Issues": f"{site.ADDRESS}/issues"} if given else {}
    assert urls == wanted
    assert not given or site.ADDRESS == "https://github.com/someone/zero"
