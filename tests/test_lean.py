"""What is taken from the built pages, and what must stay."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tinycss2
from docutils import nodes
from docutils.utils import new_document
from PIL import Image
from py_mini_racer import JSEvalException

from book._ext.zerobook import boxes, formulas, lean, measured

ROOT = Path(__file__).parents[1]


def kept(css: str, *words: str) -> str:
    return lean.used(tinycss2.parse_stylesheet(css, True, True), set(words))


@pytest.mark.parametrize(
    ("css", "left"),
    [
        (".a{x:1}", ".a{x:1}"),
        (".b{x:1}", ""),
        (".a, .b{x:1}", ".a{x:1}"),
        (".a .b{x:1}", ""),
        (".a#b{x:1}", ""),
        ("p:not(.b)>i{x:1}", "p:not(.b)>i{x:1}"),
        ("[data-b=b]{x:1}", "[data-b=b]{x:1}"),
        ("@media print{.a{x:1}.b{x:2}}", "@media print{.a{x:1}}"),
        ("@media print{.b{x:2}}", ""),
        ("@font-face{x:1}", "@font-face{x:1}"),
    ],
)
def test_a_rule_stays_if_all_its_classes_are_named(css, left):
    assert kept(css, "a") == left


PAGE = """<link rel="stylesheet" href="AT/_static/one.css?v=1" />
<link rel="stylesheet" href="AT/_static/styles/two.css" />
<link rel="preload" as="font" href="AT/_static/three.woff2" />
<script src="AT/_static/documentation_options.js"></script><script>OPTIONS.page = 1</script>
<script src="AT/_static/first.js"></script>
<script src="AT/_static/scripts/fontawesome/all.js?v=1"></script>
<script async="async" src="AT/_static/sphinx-thebe.js?v=1"></script>
<script>const THEBE_JS_URL = "lib/index.js";</script>
<script type="text/x-thebe-config">
  { requestKernel: true }</script>
<script>kernelName = 'python3'</script>
<script>document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto"</script>
<script data-thing src="AT/_static/design-tabs.js"></script>
<h1>Title</h1><p>A</p>
<p class="seen">Text</p><img src="AT/_images/a.png" /><img src="AT/_images/b.png" />
<script>(() => {\nlet x;\nmountAll({});\n})();</script>
<script src="AT/_static/second.js"></script>"""


def build(tmp_path: Path, page: str = PAGE, last: str = f"last{lean.MEASURED}") -> Path:
    """A site of two pages, one of them the search, made lean."""
    static = tmp_path / "_static"
    (static / "styles").mkdir(parents=True)
    (tmp_path / "_images").mkdir()
    (tmp_path / "book").mkdir()
    (static / "one.css").write_text('@import "styles/base.css";\n.seen{b:1}.unseen{c:1}')
    (static / "styles/base.css").write_text(".made{a:url(../x.svg)}")
    (static / "styles/two.css").write_text(".seen{d:url(data:1)}")
    (static / "documentation_options.js").write_text("const OPTIONS = {};")
    (static / "first.js").write_text("add('made')")
    (static / "second.js").write_text(last)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (3, 2)).save(tmp_path / "_images" / name)
    formula = '<em>One</em> <h2>Next</h2><span class="katex">1</span>'
    (tmp_path / "book/page.html").write_text(page.replace("AT/", "../") + formula)
    search = '<script defer src="_static/searchtools.js"></script>'
    (tmp_path / "search.html").write_text(page.replace("AT/", "") + search)
    (static / "searchtools.js").write_text("search()")
    lean.lean(tmp_path)
    return tmp_path


@pytest.fixture
def site(tmp_path):
    return build(tmp_path)


def test_the_sheets_become_one(site):
    css = (site / "_static/site.css").read_text()
    assert "url(x.svg)" in css.replace("styles/../", "")
    assert css.index(".made") < css.index("b:1") < css.index("d:url(data:1)")
    assert "unseen" not in css
    assert not (site / "_static/one.css").exists()
    for name, at in {"book/page.html": "../", "search.html": ""}.items():
        html = (site / name).read_text()
        assert html.count("stylesheet") == 1
        assert f'href="{at}_static/site.css?v=' in html
        assert "three.woff2" not in html
        for name, text in lean.AHEAD.items():
            font = f'<link rel="preload" href="{at}_static/vendor/{name}.woff2" as="font"'
            first = html.partition("<h2>Next")[0]
            assert (font in html[: html.index("stylesheet")]) == (text in first)
            assert (ROOT / f"book/_static/vendor/{name}.woff2").exists()
    page = (site / "book/page.html").read_text()
    assert "400-italic" in page
    assert "katex/fonts" not in page  # it is needed below the heading alone


def test_the_scripts_become_one_in_their_order_but_not_those_of_the_search(site):
    js = (site / "_static/site.js").read_text()
    assert js == "add('made');\nlast(()=>{});\n"
    html = (site / "book/page.html").read_text()
    assert html.index("const OPTIONS = {};") < html.index("OPTIONS.page")
    assert html.count('<script defer src="../_static/site.js?v=') == 1
    assert "first.js" not in html
    for gone in ("design-tabs", "fontawesome", "thebe", "THEBE", "kernelName", "localStorage"):
        assert gone not in html
    assert "prefers-color-scheme: dark" in html
    assert "mountAll" not in html
    assert "mountAll({})" in (site / "_static/explorable.js").read_text()
    assert "first.js" in (site / "search.html").read_text()


@pytest.mark.parametrize("what", lean.LOOKED_FOR)
def test_a_text_that_the_theme_no_longer_holds_is_named(tmp_path, what):
    other = lean.LOOKED_FOR[what].sub("", PAGE)
    assert other != PAGE
    with pytest.raises(lean.ThemeChangedError, match=f"looked for {what}, by ") as error:
        build(tmp_path, other)
    assert f"sphinx-book-theme {version('sphinx-book-theme')}" in str(error.value)


def test_a_script_of_the_theme_that_measures_otherwise_is_noticed(tmp_path):
    with pytest.raises(lean.ThemeChangedError, match="looked for the measuring of code, by "):
        build(tmp_path, last="last()")


def test_pictures_say_their_size_and_all_but_the_first_wait(site):
    html = (site / "book/page.html").read_text()
    for name, waits in ("a", 'fetchpriority="high"'), ("b", 'loading="lazy"'):
        size = 'width="3" height="2" style="--natural: 3px"'
        assert f'{name}.webp" {size} {waits} decoding="async">' in html
    assert {path.name for path in (site / "_images").iterdir()} == {"a.webp", "b.webp"}


def test_a_figure_at_twice_the_pixels_is_shown_at_its_own_size(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png", dpi=(220, 220))
    assert lean._size(tmp_path / "a.png") == (15, 10)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_chart_is_kept_exactly_and_a_photograph_nearly(tmp_path, mode):
    draw = np.random.default_rng(0)
    chart = np.full((200, 300, len(mode)), 255, np.uint8)
    chart[50:150, 20:40, :3] = 0, 105, 107
    waves = np.sin(np.linspace(0, 9, 300)) * np.cos(np.linspace(0, 7, 200))[:, None]
    photo = np.clip(128 + 90 * waves[..., None] + draw.normal(0, 9, chart.shape), 0, 255)
    photo[..., 3:] = 255
    for name, pixels in (("chart", chart), ("photo", photo.astype(np.uint8))):
        png = tmp_path / f"{name}.png"
        Image.fromarray(pixels, mode).save(png)
        lean.webp(png)
        with Image.open(tmp_path / f"{name}.webp") as image:
            assert image.size == (300, 200)
            error = np.abs(np.asarray(image.convert(mode)).astype(int) - pixels.astype(int))
        assert error.max() == 0 if name == "chart" else 0 < np.median(error) < 12
        assert png.with_suffix(".webp").stat().st_size < png.stat().st_size / 2


def test_a_formula_is_drawn_for_the_eye_and_for_a_screen_reader():
    html = formulas.drawn(r"\alpha_k A'", display=True)
    assert 'class="katex-display"' in html
    assert "<mi>α</mi>" in html
    assert 'class="katex-html" aria-hidden="true"' in html


def test_a_formula_with_an_error_ends_the_build():
    """Nothing catches it: the builder writes the page, and the build ends there."""
    paragraph = nodes.paragraph("", "Here ", nodes.math(r"\nosuch{1}", r"\nosuch{1}"))
    with pytest.raises(JSEvalException, match=r"Undefined control sequence: \\nosuch"):
        formulas._inline(SimpleNamespace(body=[]), paragraph[1])


@pytest.mark.parametrize(
    ("tex", "behind", "held"),
    [
        ("y", ", and on", '<span class="held">'),
        ("y", "). And", '<span class="held">'),
        ("y", " and on", ""),
        ("y = a + b", ", and on", '<span class="held">'),  # short: in one line
        ("y = a + b", " and on", '<span class="held">'),
        # a long one breaks after its own signs, not before the stop
        ("z = a + b + c + d + e + f", ", and on", ""),
    ],
)
def test_no_line_starts_with_the_stop_behind_a_formula(tex, behind, held):
    paragraph = nodes.paragraph("", "so ", nodes.math(tex, tex), nodes.Text(behind))
    document = new_document("page")
    document += paragraph
    formulas.hold(document)
    formulas.hold(document)  # a page may be resolved twice
    writer = SimpleNamespace(body=[])
    with pytest.raises(nodes.SkipNode):
        formulas._inline(writer, paragraph[1])
    (html,) = writer.body
    assert html.startswith(held + '<span class="math')
    stop = behind[: len(behind) - len(behind.lstrip(").,"))]
    if tex.startswith("y"):
        assert html.removesuffix("</span>" if held else "").endswith(f"</span>{stop}")
    else:
        last = re.search(r'<span class="held">(.*)<span class="stop">,</span></span>(.*)', html)
        assert re.sub("<[^>]*>", "", last[1] + last[2]) == "f"
        assert last[1].count("<span") == last[1].count("</span>")
        assert html.count("<span") == html.count("</span>")
        assert re.search(r"</annotation></semantics></math>,</span>", html)  # as it is read out
    assert paragraph[2] == behind.removeprefix(stop)


def test_a_number_stays_with_its_per_cent_sign_and_an_option_is_one_word():
    code = [nodes.literal("", text) for text in ("7 % 2", "--port", "a --port", "--a " * 9)]
    words = [nodes.Text("by 7 % of"), nodes.comment("", "n"), nodes.Text(" % and x % y")]
    document = new_document("page")
    document += nodes.paragraph("", "", *words, *code)
    boxes._keep_together(document)
    (paragraph,) = document.children
    assert paragraph.astext().startswith("by 7\u00a0% ofn\u00a0% and x % y7 % 2")
    assert [part["classes"] for part in code] == [[], ["option"], [], []]
    root = Path(__file__).parents[1]
    stored = json.loads(measured.file_of(root, "zoo").read_text(encoding="utf-8"))["rows"]
    lines = measured.in_words(measured.file_of(root, "zoo"))
    reasons = [f"- {row['family']}: {row['why']}" for row in stored if row["why"]]
    assert [line for line in lines if line.startswith("- ")] == reasons != []
    head = "\n".join(lines).split("Why, where no number stands:")[0]
    assert not any(row["why"] in head for row in stored if row["why"])
    assert measured._set("14 x 14, 50%, max") == "14\u00a0×\u00a014, 50\u00a0%, max"


def test_a_number_stays_with_what_it_counts_and_has_a_minus_outside_of_code():
    words = nodes.Text("see chapter 3, Figure\n2; 4 × 5; by -0.4 (-1) to 3-1, 1e-5 or x -y")
    kinds = {">>> -1": nodes.doctest_block, "chapter 3 -1": nodes.literal}
    code = [kind(text, text) for text, kind in kinds.items()]
    document = new_document("page")
    document += [nodes.paragraph("", "", words), *code]
    boxes._keep_together(document)
    first, *left = (part.astext() for part in document.children)
    assert left == [">>> -1", "chapter 3 -1"]
    assert first == (
        "see chapter\u00a03, Figure\u00a02; 4\u00a0×\u00a05; "
        "by \u22120.4 (\u22121) to 3-1, 1e-5 or x -y"
    )


def test_a_sentence_of_the_answer_and_its_claims_have_no_gap():
    claim = [nodes.reference("", name, refuri=f"claims.html#claim-{name}") for name in "abcd"]
    parts = [nodes.Text("is so "), claim[0], nodes.Text(" "), claim[1], nodes.Text(". And ")]
    parts += [nodes.emphasis("", "so"), nodes.Text(" "), claim[2], nodes.Text(", see "), claim[3]]
    document = new_document("page")
    document += nodes.paragraph("", "", *parts)
    boxes._close_up(document)
    assert document.astext() == "is soa b. And soc, seed"


def table_of(*rows: list[str]) -> nodes.table:
    """A table, its first row the headings."""
    head, body = nodes.thead(), nodes.tbody()
    for n, cells in enumerate(rows):
        entries = [nodes.entry("", nodes.paragraph("", text)) for text in cells]
        (body if n else head).append(nodes.row("", *entries))
    return nodes.table("", nodes.tgroup("", head, body))


def test_a_wide_table_of_text_names_its_cells_for_a_phone():
    long = "what is told in many words, more than a phone has room for"
    heads = ["when", "where", "what <i>", "then"]
    told = table_of(heads, ["a day", "", long, "go on"], *[["0 to 3", "", long, "go on"]] * 29)
    boxes._told(told)
    assert told["classes"] == ["told"]
    for words, number in ((0, []), (1, ["when"])):  # words say themselves what they are
        row = next(told.findall(nodes.tbody)).children[words].children
        assert row[1]["classes"] == ["nothing"]
        names = [name.astext() for cell in row for name in cell.findall(nodes.raw)]
        names = [re.search('data-name="(.*)"', name)[1] for name in names]
        assert names == [*number, "what &lt;i&gt;", "then"]
    row = ["0 to 3", "", long, "go on"]
    for rows in ((heads[:3], row[:3]), (heads, ["1", "2", "3", "4"]), (heads, *[row] * 31)):
        other = table_of(*rows)
        boxes._told(other)
        assert other["classes"] == []
    boxes._told(nodes.table("", nodes.tgroup("", *table_of(heads, row)[0][:1])))  # headings alone


def test_a_caption_is_one_whether_of_a_figure_or_of_a_table():
    for start, place in {"Figure 1. A": "figure-1", "Table 12. B": "table-12", "Table": ""}.items():
        paragraph = nodes.paragraph("", "", nodes.strong("", start), nodes.Text(" and on"))
        boxes._section(nodes.section("", nodes.title("", "Title"), paragraph))
        assert paragraph["classes"] == ["caption"] * bool(place)
        assert paragraph["ids"] == [place] * bool(place)


def test_a_table_of_pandas_has_one_row_of_headings_and_a_minus():
    frame = pd.DataFrame({"name": ["a-1", "b"], "value": [-0.5, 2], "other": ["-x", "y"]})
    document = new_document("page")
    document += nodes.raw("", frame.set_index("name").to_html(), format="html")
    assert document.astext().count("<tr") == 4
    boxes._frames(document)
    html = document.astext()
    heads = re.findall("<th>(.*?)</th>", html.split("</thead>")[0])
    assert heads == ["name", "value", "other"]
    assert html.count("<tr") == 3
    assert "<td>\u22120.5</td>" in html
    assert "<td>-x</td>" in html
    assert "<th>a-1</th>" in html
    document.children[:] = [nodes.raw("", frame.to_html(), format="html")]
    boxes._frames(document)
    assert document.astext().count("<tr") == 3


def test_the_lead_of_a_chapter_is_no_other_paragraph_about_the_question():
    for start, classes in {"The question.": ["lead"], "The question:": []}.items():
        paragraph = nodes.paragraph("", "", nodes.strong("", start), nodes.Text(" A bias"))
        boxes._section(nodes.section("", nodes.title("", "Title"), paragraph))
        assert paragraph["classes"] == classes


@pytest.mark.slow
def test_a_process_that_draws_formulas_ends():
    """Left to the end of the interpreter, the engine waited for ever in four of ten runs."""
    code = "from book._ext.zerobook import formulas; formulas.drawn('y')"
    for _ in range(6):
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
