"""The snippets of the pages run as printed, and what faq.md says of other libraries is so."""

import contextlib
import io
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torchcam.methods import GradCAM as TorchCAM

import zerocam

BOOK = Path(__file__).parents[1] / "book"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.M | re.S)


def blocks(page: str) -> list[tuple[str, str]]:
    """Each python block of a page with the text block that follows it ("" if none does)."""
    return [(m[1], m[2] or "") for m in BLOCK.finditer(page)]


def run(code: str, names: dict) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "faq.md", "exec"), names)
    return out.getvalue()


def heading(page: str, code: str) -> str:
    return re.findall(r"^#+ (.*)$", page[: page.index(code)], re.M)[-1]


@pytest.fixture(scope="module")
def faq():
    """The page's names after its two boxes: Tiny, net, x, cat, ..., and the other libraries."""
    names: dict = {}
    for code, expected in blocks((BOOK / "faq.md").read_text())[:2]:
        assert run(code, names) == expected
    return names


def test_blocks_are_found():
    page = "# Q\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\nA.\n\n```python\nx = 1\n```\n"
    assert blocks(page) == [("print(1)\n", "1\n"), ("x = 1\n", "")]
    assert heading(page, "print(1)\n") == "Q"


def test_every_snippet_prints_what_stands_below_it():
    page = (BOOK / "faq.md").read_text()
    found = blocks(page)
    assert len(found) == page.count("```python")
    assert sum(bool(expected) for _, expected in found) == page.count("```text")
    ours: dict = {}
    assert run(found[0][0], ours) == found[0][1]
    theirs: dict = {}
    assert run(found[1][0], theirs) == ""
    alone = 0
    for code, expected in found[2:]:  # each runs by itself, as the page says
        others = {name: value for name, value in theirs.items() if name in code}
        assert run(code, ours | others) == expected, f"{heading(page, code)!r}\n{code}"
        alone += not others
    assert alone >= 15  # and these need no other library
    assert not {"captum", "pytorch_grad_cam", "torchcam"} & set(re.findall(r"\w+", found[0][0]))


def test_the_page_for_models_of_ones_own_prints_what_stands_below():
    names: dict = {}
    for code, expected in blocks((BOOK / "your-model.md").read_text()):
        assert run(code, names) == expected


def test_there_are_questions_and_each_has_a_snippet():
    page = (BOOK / "faq.md").read_text()
    answers = re.split(r"^### .*$", page, flags=re.M)[1:]
    assert len(answers) >= 15
    for answer in answers:
        assert "```python" in answer
        prose = re.sub(r"```.*?```", "", answer, flags=re.S)
        assert len(re.findall(r"[.?!](?:\s|$)", prose)) >= 2


@pytest.mark.slow
def test_the_readme_prints_what_stands_below_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # it draws map.png
    page = (BOOK.parent / "README.md").read_text()
    top = page[:1600]  # the first screen takes the hurried reader to the answers
    assert "blank heatmap" in top
    assert "(book/faq.md)" in top
    assert "zerocam map" in top
    names: dict = {}
    for code, expected in (found := blocks(page)):
        assert len(code.split("\n")) <= 14
        assert run(code, names) == expected
    assert len(found) == 2
    assert (tmp_path / "map.png").is_file()


# What the page says of other libraries, beyond what its snippets print


def peers(model, x, cat):
    return {
        "pytorch-grad-cam": lambda: GradCAM(model, [model.conv])(x, [ClassifierOutputTarget(cat)]),
        "TorchCAM": lambda: TorchCAM(model, "conv")(cat, model(x)),
    }


@pytest.mark.parametrize("name", ["pytorch-grad-cam", "TorchCAM"])
def test_two_libraries_need_gradients_at_the_layer(faq, name):
    x, cat, frozen = faq["x"], faq["cat"], faq["Tiny"](faq["alpha"]).requires_grad_(False)
    with pytest.raises(RuntimeError):
        peers(frozen, x, cat)[name]()
    with torch.no_grad(), pytest.raises(RuntimeError):
        peers(faq["net"], x, cat)[name]()
    frozen = faq["Tiny"](faq["alpha"]).requires_grad_(False)
    frozen.conv.requires_grad_()
    assert peers(frozen, x, cat)[name]() is not None


def test_captum_takes_one_class_for_a_batch(faq):
    net, cat, batch = faq["net"], faq["cat"], torch.cat([faq["x"], faq["x"]])
    map_ = LayerGradCam(net, net.conv).attribute(batch, target=cat)[:, 0]
    assert torch.equal(map_, zerocam.grad_cam(net, batch, cat, layer="conv", relu=False))


def test_two_libraries_draw_four_causes_of_a_blank_alike(faq):
    """A silent layer, zero gradient, all negative, constant: the same zeros."""
    Tiny, alpha, x = faq["Tiny"], faq["alpha"], faq["x"]
    even = torch.ones_like(x)
    cases = [(faq["net"], 0 * x, 0), (Tiny(0 * alpha), x, 0), (faq["net"], x, 2)]
    for model, image, c in [*cases, (faq["net"], even, 0)]:
        with GradCAM(model, [model.conv]) as cam:
            assert not cam(image, [ClassifierOutputTarget(c)]).any()
        with TorchCAM(model, "conv") as cam:
            assert not cam(c, model(image))[0].any()


def test_the_lock_names_the_libraries_the_page_ran_with():
    lock = (BOOK.parent / "requirements.lock").read_text()
    for package in ("captum", "grad-cam", "torchcam"):
        assert f"{package}=={version(package)}" in lock


def test_what_the_pages_name_can_be_typed_after_their_imports():
    """`zerocam.a.b` in a paragraph exists after `import zerocam` and the imports named there."""
    code = "import zerocam\n"
    for page in sorted(BOOK.glob("*.md")):
        for paragraph in page.read_text().split("\n\n"):
            imports = re.findall(r"`(import zerocam[.\w]+)`", paragraph)
            names = set(re.findall(r"`(zerocam(?:\.\w+)+)\(", paragraph))
            code += "".join(f"{line}\n" for line in [*imports, *sorted(names)])
    assert "zerocam.layers.named_layer" in code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
