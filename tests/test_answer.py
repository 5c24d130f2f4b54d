"""The page `answer`: no sentence of it stands without a claim that ran."""

import re
from pathlib import Path

import pytest
import torch

from zerocam.lab import ledger
from zerocam.lab.nets import scene_net
from zerocam.lab.scenes import scene

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "answer.md").read_text(encoding="utf-8")
LINK = re.compile(r"\[([A-Z]\d+)\]\(claims\.md#claim-([a-z]\d+)\)")
NO_SENTENCE = re.compile(
    r"^```[\s\S]*?^```$|^#+ .*$|^\*\*Figure \d+\. [^*]*\*\*|^\|.*\n\|[-:| ]+\|$", re.M
)  # code, headings, titles of figures, heads of tables
BLOCK = re.compile(r"\n\s*\n|\n(?=\||\d+\. |[-*] )")
END = re.compile(r"(?<=[.!?])[\"'*_)]*\s+(?=[A-Z\"'*$(\[])")


def sentences(page: str) -> list[str]:
    """The sentences of a page, and each row of its tables as one; no headings, no code."""
    text = re.sub(NO_SENTENCE, "", ledger.MARK.sub("", page))
    blocks = [re.sub(r"^\d+\. ", "", block.strip()) for block in BLOCK.split(text)]
    return [s for b in blocks if b for s in ([b] if b.startswith("|") else END.split(b))]


def unfounded(page: str, claims: set[str]) -> list[str]:
    """The sentences without a link to a claim, or with a link to what is none."""
    return [
        sentence
        for sentence in sentences(page)
        if not (links := LINK.findall(sentence))
        or any(name.lower() != target or name not in claims for name, target in links)
    ]


A1 = "[A1](claims.md#claim-a1)"


@pytest.mark.parametrize(
    ("page", "missing"),
    [
        (f"# Title\n\nIt adds up {A1}.\n\nNo.", ["No."]),
        (f"It adds up {A1}. It is nice.\n", ["It is nice."]),
        (f"Is it nice? It adds up to 0.12<!--02:r--> {A1}.", ["Is it nice?"]),
        (f"It *adds up.* So\nit is nice {A1}.", ["It *adds up."]),
        (f"1. **So:** two. Add {A1}.\n2. Then *which?* take it {A1}.", ["**So:** two."]),
        (f"| head | |\n|---|---|\n| row | {A1} |\n| bare | |\n", ["| bare | |"]),
        ("```python\nx = 1. And so\n```\n", []),
        (f"**Figure 1. A title.** It adds up {A1}. No.", ["No."]),
        ("It adds up [A2](claims.md#claim-a2).", ["It adds up [A2](claims.md#claim-a2)."]),
        ("It adds up [A1](claims.md#claim-b1).", ["It adds up [A1](claims.md#claim-b1)."]),
        ("It adds up [A1](claims.md).", ["It adds up [A1](claims.md)."]),
    ],
)
def test_what_stands_without_a_claim_is_found(page, missing):
    assert unfounded(page, {"A1", "B1"}) == missing


def test_each_sentence_of_the_answer_rests_on_a_claim_that_ran():
    ran = ledger.claims(ROOT).keys() & ledger.checks(ROOT).keys()
    assert len(sentences(PAGE)) > 30
    assert unfounded(PAGE, ran) == []


def test_its_recipe_runs_and_sums_to_the_centred_score():
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    net, x = scene_net(), scene((2, 7)).x
    names = {"model": net, "x": x, "c": 7, "layer": "features"}
    exec(code, names)
    with torch.no_grad():
        (wanted,) = net(x)[:, 7] - net(x).mean(1)
    assert names["M"].shape == (1, 10, 10)
    assert wanted > 1
    assert torch.isclose(names["M"].sum(), wanted, atol=1e-3)
    assert names["M"].min() < 0 < names["M"].max()
