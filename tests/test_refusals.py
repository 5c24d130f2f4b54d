"""Refusals: one class with its parts, and nobody decides by the words of a message."""

import ast
import copy
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import zerocam
from zerocam.extras import Missing
from zerocam.refusals import LayerRefused, Refused

SOURCES = sorted((Path(__file__).parents[1] / "src").rglob("*.py"))
PARTS = ("what", "got", "wanted", "mend", "why")
BARE = {"ValueError", "TypeError", "KeyError", "Exception"}


def bare(tree: ast.AST) -> Iterator[str]:
    """Each error without parts that is made: raised at once, returned, or kept for later."""
    for node in ast.walk(tree):
        made = node.func if isinstance(node, ast.Call) else getattr(node, "exc", None)
        if isinstance(made, ast.Name) and made.id in BARE:
            yield ast.unparse(node)


def by_the_words(tree: ast.AST) -> Iterator[str]:
    """Each place where the text of a caught error is compared, searched or asked how it begins."""
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None:
            continue
        texts = {f"str({handler.name})", f"{handler.name}.args[0]", f"repr({handler.name})"}
        for node in ast.walk(handler):
            asked = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            if isinstance(node, ast.Attribute) and node.attr in ("startswith", "endswith", "find"):
                asked = [node.value]
            if isinstance(node, ast.Call):  # re.match("...", str(error))
                words = ast.unparse(node.func).rpartition(".")[2]
                asked = node.args if words in ("match", "search", "fullmatch") else asked
            if any(ast.unparse(a) in texts for a in asked):
                yield ast.unparse(node)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("raise ValueError('x: got 1')", 1),
        ("raise ValueError", 1),
        ("def f():\n    return ValueError('x')", 1),
        ("raise Refused('x', '1')", 0),
        ("try: f()\nexcept ValueError: raise", 0),
    ],
)
def test_an_error_without_parts_is_seen(code, found):
    assert len(list(bare(ast.parse(code)))) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("if str(e).startswith('layer'): raise", 1),
        ("if 'layer' in str(e): raise", 1),
        ("if re.match('layer', str(e)): raise", 1),
        ("if e.args[0] == 'layer': raise", 1),
        ("print(str(e))", 0),
        ("if e.what == 'layer': raise", 0),
    ],
)
def test_a_decision_by_the_words_is_seen(body, found):
    code = f"try: f()\nexcept ValueError as e:\n    {body}"
    assert len(list(by_the_words(ast.parse(code)))) == found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_every_refusal_has_its_parts_and_nobody_decides_by_the_words(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(bare(tree)) == []
    assert list(by_the_words(tree)) == []


def test_the_text_holds_the_parts_that_there_are():
    assert str(Refused("x", "3", "0 to 1", "divide")) == "x: got 3, wanted 0 to 1; divide"
    assert str(Refused("x", "3", "0 to 1")) == "x: got 3, wanted 0 to 1"
    assert str(Refused("x", "3", mend="divide")) == "x: got 3; divide"
    known = Refused("x", "3", "at most 1", "divide", why="is too large")
    assert str(known) == "x: is too large, wanted at most 1; divide"
    assert (known.got, known.why) == ("3", "is too large, wanted at most 1")


@pytest.mark.parametrize("kind", [Refused, LayerRefused, Missing])
def test_a_refusal_travels_between_processes_with_its_parts(kind):
    refused = kind("x", "3", "0 to 1", "divide", why="is too large")
    for again in (pickle.loads(pickle.dumps(refused)), copy.copy(refused)):
        assert type(again) is kind
        assert str(again) == str(refused)
        assert [getattr(again, part) for part in PARTS] == [
            *("x", "3", "0 to 1", "divide", "is too large, wanted 0 to 1")
        ]


def test_who_catches_a_value_error_catches_a_refusal_and_reads_what_was_wanted():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    with pytest.raises(ValueError, match="nearest") as caught:
        zerocam.grad_cam(net, torch.zeros(1, 1, 8, 8), 0, layer="O")
    refused = caught.value
    assert isinstance(refused, zerocam.Refused)
    assert not isinstance(refused, LayerRefused)
    assert (refused.what, refused.got) == ("layer", "'O'")
    assert refused.wanted == "a module name of this Sequential"
    with pytest.raises(LayerRefused) as caught:
        zerocam.grad_cam(net, torch.zeros(1, 1, 8, 8), 0, layer="1")
    assert caught.value.got == "output of shape (1, 72)"
