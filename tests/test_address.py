"""The one setting of the address: which buttons it turns on."""

from types import SimpleNamespace

import pytest

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
