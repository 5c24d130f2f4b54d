"""The form of a figure for a phone: all panels, in their order, in rows that are narrow enough."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image, ImageDraw

from book._ext.zerobook import lean, phone
from zerocam import plots

ROOT = Path(__file__).parents[1]
COLOURS = [(200, 0, 0), (0, 0, 200), (0, 120, 0), (120, 0, 120), (90, 90, 0), (0, 110, 110)]


def page(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (width, height), "white")
    return picture, ImageDraw.Draw(picture)


def strip(count: int, wide: int = 250) -> Image.Image:
    """Panels beside each other, each of its own colour."""
    picture, draw = page(count * (wide + 10), 120)
    for n in range(count):
        left = n * (wide + 10) + 4
        draw.rectangle((left, 10, left + wide - 1, 109), fill=COLOURS[n])
    return picture


def order(picture: Image.Image) -> list[list[int]]:
    """Which panels stand in each row, by their colours."""
    pixels, rows = np.asarray(picture), []
    drawn = (pixels < 250).any(2)
    for top, bottom in phone._runs(drawn.any(1), 2):
        middle = pixels[(top + bottom) // 2]
        runs = phone._runs((middle < 250).any(1), 2)
        rows.append([COLOURS.index(tuple(map(int, middle[(a + b) // 2]))) for a, b in runs])
    return rows


def test_what_a_phone_has_room_for_stays():
    assert phone.laid_out(strip(2), 1) is None
    assert phone.laid_out(strip(3), 2) is None  # twice the pixels: half as wide


def test_panels_stand_in_rows_in_their_order():
    for count, rows in {3: [[0, 1], [2]], 4: [[0, 1], [2, 3]], 5: [[0, 1], [2, 3], [4]]}.items():
        laid = phone.laid_out(strip(count), 1)
        assert order(laid) == rows
        assert laid.width <= phone.WIDEST
        inked = [(np.asarray(p) < 250).any(2).sum() for p in (laid, strip(count))]
        assert inked[0] == inked[1]  # nothing is lost, nothing twice


def test_one_panel_that_is_too_wide_cannot_be_cut():
    assert phone.laid_out(strip(1, 700), 1) is None
    assert phone.laid_out(Image.new("RGB", (800, 100), "white"), 1) is None


def test_names_of_rows_stand_before_each_row_and_the_bar_where_there_is_room():
    picture, draw = page(900, 300)
    draw.rectangle((5, 40, 15, 100), fill=(40, 40, 40))  # a name, upright
    for n in range(3):
        for top in (10, 160):
            draw.rectangle((40 + n * 260, top, 289 + n * 260, top + 120), fill=COLOURS[n])
    draw.rectangle((840, 10, 855, 280), fill=(200, 0, 0))
    names, panels, bar = phone._parts(np.asarray(picture), 1)
    assert names == (5, 40)
    assert panels == [(40, 290), (300, 550), (560, 810)]
    assert bar == (810, 856)
    laid = np.asarray(phone.laid_out(picture, 1))
    assert laid.shape[1] <= phone.WIDEST
    grey = phone._runs((laid == 40).all(2).any(1), 5)
    assert len(grey) == 2  # the name, once in each row
    red = (laid == (200, 0, 0)).all(2)
    runs = [phone._runs(line, 2) for line in red[::20]]
    bar = [n for n, line in enumerate(runs) for a, b in line if b - a == 16]
    assert bar[0] * 20 > grey[1][0] - 50  # beside the last row


def test_a_line_in_the_middle_above_all_stays_above_and_begins_a_figure():
    one = strip(3)
    picture, draw = page(780, 320)
    for top in (0, 160):
        draw.rectangle((360, top + 10, 420, top + 20), fill=(40, 40, 40))
        picture.paste(one.crop((0, 8, 780, 112)), (0, top + 40))
    assert len(phone._sections(np.asarray(picture), 1)) == 2
    laid = np.asarray(phone.laid_out(picture, 1))
    grey = phone._runs((laid == 40).all(2).any(1), 2)
    red = phone._runs((laid == COLOURS[0]).all(2).any(1), 2)
    last = phone._runs((laid == COLOURS[2]).all(2).any(1), 2)
    places = [a for pair in zip(grey, red, last, strict=True) for a, _ in pair]
    assert places == sorted(places)
    assert len(places) == 6


@pytest.mark.parametrize("titles", [True, False])
def test_panels_with_titles_are_read_row_by_row(titles):
    picture, draw = page(780, 300)
    for n in range(6):
        left, top = 10 + n % 3 * 260, 30 + n // 3 * 150
        draw.rectangle((left, top, left + 239, top + 99), fill=COLOURS[n])
        if titles:
            draw.rectangle((left + 60, top - 16, left + 90, top - 8), fill=(40, 40, 40))
    laid = np.asarray(phone.laid_out(picture, 1))
    first = [np.argwhere((laid == colour).all(2))[0].tolist() for colour in COLOURS]
    assert (first == sorted(first)) == titles  # without titles the columns are kept whole


def test_a_legend_beside_a_chart_comes_below_it():
    with plt.rc_context():
        plots.style()
        fig, ax = plt.subplots(figsize=(7, 3))
        for n in range(3):
            ax.plot([0, 1], [0, n], label=f"a line with a long name {n}")
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
        fig.canvas.draw()
        picture = Image.fromarray(np.asarray(fig.canvas.buffer_rgba())[..., :3])
        plt.close(fig)
    laid = phone.laid_out(picture, 1)
    assert laid.width <= phone.WIDEST
    assert laid.height > picture.height + 40


def test_a_page_gives_a_phone_its_own_form_of_a_figure_and_of_no_photograph(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "_images").mkdir()
    strip(3).save(tmp_path / "_images" / "a.png", dpi=(110, 110))
    strip(3).save(tmp_path / "_images" / "b.png")  # says no size: a photograph
    strip(2).save(tmp_path / "_images" / "c.png", dpi=(110, 110))
    tags = "".join(f'<img src="../_images/{name}.png" />' for name in "abc")
    html = lean._pictures(tags, tmp_path / "book" / "page.html")
    with Image.open(tmp_path / "_images" / "a-phone.png") as form:
        width, height = form.size
    assert html.count("<picture>") == html.count("</picture>") == 1
    assert f'srcset="../_images/a-phone.webp" width="{width}" height="{height}"' in html
    assert f'style="--natural: 780px; --phone: {width}px"' in html
    assert html.count("--phone") == 1
    assert html.count('loading="lazy"') == 2
    assert sorted(path.name for path in (tmp_path / "_images").iterdir()) == [
        *("a-phone.png", "a.png", "b.png", "c.png")
    ]


@pytest.mark.parametrize("dpi", [110, 220])
def test_a_phone_of_large_pixels_gets_what_it_can_show(tmp_path, dpi):
    (tmp_path / "book").mkdir()
    (tmp_path / "_images").mkdir()
    scale = dpi // 110
    picture = strip(3).resize((780 * scale, 120 * scale))
    picture.save(tmp_path / "_images" / "a.png", dpi=(dpi, dpi))
    html = lean._pictures('<img src="../_images/a.png" />', tmp_path / "book" / "page.html")
    names = re.findall(r'<source media="([^"]*)" srcset="../_images/([^"]*)"', html)
    forms = [(lean.COARSE, "a-phone-few.webp"), (lean.PHONE, "a-phone.webp")]
    assert names == forms[2 - scale :]  # the first that fits is taken
    with Image.open(tmp_path / "_images" / "a-phone.png") as form:
        assert (form.width > lean.ENOUGH) == (scale == 2)
    if scale == 2:
        with Image.open(tmp_path / "_images" / "a-phone-few.png") as few:
            assert few.width == lean.ENOUGH
            assert few.height / few.width == pytest.approx(form.height / form.width, rel=0.01)


def test_the_text_of_the_widest_form_is_as_large_on_a_phone_as_the_style_says():
    """A figure is shown at least at this share of its size, on a column of 358 CSS pixels."""
    css = (ROOT / "book" / "_static" / "identity.css").read_text(encoding="utf-8")
    (share,) = {float(part) for part in re.findall(r"calc\((\S+) \* var\(--n", css)}
    assert share * phone.WIDEST <= 358
    assert share * plots.TEXT * lean.PER_INCH / 72 > 9.95
