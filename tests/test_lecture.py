"""The lecture: its plan, its figures, its handouts and its votes, without a browser."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tools.course.lecture import gift, handouts, page, talk
from tools.course.lecture.drawings import DRAWINGS
from tools.course.lecture.figures import FIGURES

GUIDE = (Path(__file__).parents[1] / "book" / "teach.md").read_text(encoding="utf-8")
FIRST = [slide for slide in talk.slides() if slide["part"] != "second hour"]


def test_the_slides_take_their_minutes_and_follow_the_guide():
    assert 15 <= len(FIRST) <= 20
    assert sum(slide["minutes"] for slide in FIRST) == talk.FIRST_HOUR
    lecture = GUIDE.split("## Where it was taught")[0]
    plan = re.findall(r"^\| (\d+) to (\d+) \|[^|]*\| ([^|]*) \|", lecture, re.M)
    assert (plan[0][0], plan[-1]) == ("0", (str(talk.FIRST_HOUR), "90", "reserve"))
    assert talk.FIRST_HOUR <= 80  # ten minutes are for questions
    assert all(a[1] == b[0] for a, b in pairwise(plan))
    shown = {}
    for slide in FIRST:
        shown[slide["part"]] = shown.get(slide["part"], 0) + slide["minutes"]
    assert shown == {part: int(end) - int(start) for start, end, part in plan[:-1]}
    row = re.search(r"^Minutes of slides 1 to \d+: ([\d, ]*)\.$", GUIDE, re.M)[1]
    assert [int(n) for n in row.split(", ")] == [slide["minutes"] for slide in FIRST]


def test_the_guide_names_the_slides_of_each_part():
    numbers = {}
    for n, slide in enumerate(FIRST, 1):
        numbers.setdefault(slide["part"], []).append(n)
    for part, (first, *_, last) in numbers.items():
        wanted = rf"\| {first}(?:,| to) {last} \| {part} \|"
        assert re.search(wanted, GUIDE), wanted
    seconds = [slide["minutes"] for slide in talk.slides()[len(FIRST) :]]
    said = f"Slides {len(FIRST) + 1} to {len(talk.slides())} take {sum(seconds)} minutes"
    assert said in GUIDE


@pytest.mark.parametrize("slide", talk.slides(), ids=lambda slide: slide["title"])
def test_a_slide_is_short_and_has_notes(slide):
    assert talk.words(slide) <= 40
    assert slide["figure"] in DRAWINGS or slide["figure"] in FIGURES
    assert all(len(slide[note].split()) >= 3 for note in talk.NOTES)
    if "options" in slide:
        assert 1 <= slide["right"] <= len(slide["options"]) == 3
        assert sum(slide["expected"]) == 100
        numbers = ", ".join(map(str, slide["expected"]))
        assert numbers in slide["ask"]


def test_the_first_and_last_slides_are_what_a_lecture_needs():
    titles = [slide["title"] for slide in FIRST]
    assert "Grad-CAM" in titles[2]
    assert "compared with what?" in titles[-2]
    assert FIRST[1]["figure"] == FIRST[-1]["figure"] == "two-questions"


def test_every_figure_is_shown_and_described():
    used = {slide["figure"] for slide in talk.slides()}
    assert used == set(talk.talk()["figures"]) == {*DRAWINGS, *FIGURES}
    assert all(len(talk.alt(name).split()) >= 12 for name in used)


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_number_of_an_alt_text_is_in_the_drawing(name):
    svg = DRAWINGS[name]({"title": name, "desc": ""}).svg()
    drawn = " ".join(re.sub(r"<[^>]*>", "", text) for text in re.findall(r"<text.*?</text>", svg))
    found = set(re.findall(r"−?\d+(?:\.\d+)?", drawn))
    told = re.sub(r"\d by \d|channels? \d", "", talk.alt(name))
    missing = [n for n in re.findall(r"−?\d+(?:\.\d+)?", told) if n not in found]
    assert missing == []


def test_a_number_that_no_chapter_prints_is_refused(monkeypatch, tmp_path):
    text = (talk.HERE / "slides.toml").read_text(encoding="utf-8")
    bad = re.sub(r"[\d.]+(?=<!--01:drop-->)", "2.04", text)
    assert bad != text
    (tmp_path / "slides.toml").write_text(bad, encoding="utf-8")
    monkeypatch.setattr(talk, "HERE", tmp_path)
    with pytest.raises(ValueError, match=r"drop: the prose says '2\.04'"):
        talk.talk.__wrapped__()


# Handouts -----------------------------------------------------------------------------------------


def test_the_handouts_are_filled():
    pages = handouts.handouts()
    assert set(pages) == {"board", "checklist", "feedback", "formulas", "slip"}
    for html in pages.values():
        shown = re.sub(r"<style>.*?</style>|<annotation.*?</annotation>", "", html, flags=re.S)
        assert not re.search(r"\{\{|\$|katex-error|https?://(?!www\.w3\.org)", shown)
    assert "Has the network found nothing there?" in pages["slip"]
    assert pages["checklist"].count("<li>") == 6
    assert pages["formulas"].count("katex-display") >= 8


@pytest.mark.parametrize(
    ("text", "message"),
    [("{{02: Absent}}", "chapter 02 has nothing"), ("{{absent}}", "no such hole")],
)
def test_a_hole_that_nothing_fills_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        handouts.filled(text)


def test_the_board_has_a_plan_for_each_slide_that_is_worked_out_on_it_and_for_no_other():
    board = (handouts.PAPER / "board.md").read_text("utf-8")
    planned = [int(n) for n in re.findall(r"^## Slide (\d+)\.", board, re.M)]
    asked = [n for n, slide in enumerate(talk.slides(), 1) if "board" in slide["ask"]]
    assert planned == asked
    first, second = board.split("# The second hour")
    assert f"## Slide {planned[1]}." in first
    assert f"## Slide {planned[2]}." in second
    assert planned[1] <= len(FIRST) < planned[2]


# The votes as questions ---------------------------------------------------------------------------


def parsed(text):
    """A small reader of GIFT, written from its description: (question, [(answer, right)])."""
    found = []
    for block in re.split(r"\n\s*\n", text.strip()):
        match = re.fullmatch(r"::(?:\\.|[^\\:])*::\[markdown\](.*?)(?<!\\)\{(.*)\}\s*", block, re.S)
        assert match, block
        answers = re.findall(r"(?<!\\)([=~])((?:\\.|[^\\=~])*)", match[2])
        plain = [(re.sub(r"\\(.)", r"\1", a).strip(), sign == "=") for sign, a in answers]
        found.append((re.sub(r"\\(.)", r"\1", match[1]).strip(), plain))
    return found


def test_the_votes_can_be_read_back():
    assert parsed(gift.gift()) == gift.questions()
    for question, answers in gift.questions():
        assert len(question.split()) >= 5
        assert len(answers) in (3, 4)
        assert sum(right for _, right in answers) == 1
        assert all(text and not re.search(r"\([a-d]\)|\*", text) for text, _ in answers)
    votes = sum("options" in slide for slide in talk.slides())
    guide = sum("(a)" in ask for ask in re.findall(r"\*\*Ask:\*\*.*", GUIDE))
    assert len(gift.questions()) == votes + guide
    assert guide >= 8


def test_signs_of_the_format_are_escaped():
    text = r"a = {b}: ~c #d \e"
    (question,) = parsed(f"::x::[markdown]{gift.escaped(text)} {{\n\t=yes\n\t~no\n}}\n")
    assert question == (text, [("yes", True), ("no", False)])


def test_the_library_is_the_pinned_one():
    third = (Path(__file__).parents[1] / "THIRD_PARTY.md").read_text(encoding="utf-8")
    version = re.search(r"reveal\.js ([\d.]+)", page.library("dist/reveal.js"))[1]
    assert f"**reveal.js `{version}`.**" in third
    assert "MIT" in page.library("dist/reveal.js")[:200]


def test_the_short_lecture_takes_its_minutes():
    """The slides that the guide names for 45 minutes take 45 minutes."""
    minutes, named = re.search(r"With (\d+) minutes: slides ([^(]*) \(", GUIDE).groups()
    shown = []
    for part in re.findall(r"\d+(?: to \d+)?", named):
        first, _, last = part.partition(" to ")
        shown += range(int(first), int(last or first) + 1)
    assert sum(FIRST[n - 1]["minutes"] for n in shown) == int(minutes)


def test_the_two_questions_are_asked_in_one_wording():
    asked = [slide["text"] for slide in FIRST if slide.get("text", "").startswith("**1.** ")]
    assert len(asked) == 2
    assert asked[0] == asked[1]
    rule = "You keep the slip."
    assert sum(rule in slide["say"] + slide["ask"] for slide in FIRST) == 2


def test_the_right_option_of_a_vote_has_no_usual_place():
    places = [slide["right"] for slide in talk.slides() if "options" in slide]
    assert max(places.count(place) for place in (1, 2, 3)) <= -(-len(places) // 3)


def test_the_right_letter_of_the_guides_questions_has_no_usual_place():
    places = [[right for _, right in answers].index(True) for _, answers in gift.asked(GUIDE)]
    assert max(map(places.count, places)) <= -(-len(places) // 3)
