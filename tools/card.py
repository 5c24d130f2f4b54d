"""Draw book/_static/card.png, the picture a shared link shows: the book's title over its cover."""

from pathlib import Path

import matplotlib.pyplot as plt

STATIC = Path(__file__).parents[1] / "book" / "_static"


def main() -> None:
    """1,200 by 630 pixels, as link previews want them."""
    fig = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="white")
    cover = plt.imread(STATIC / "cover.png")
    width = 0.9
    ax = fig.add_axes((0.05, 0.1, width, width * 12 * cover.shape[0] / cover.shape[1] / 6.3))
    ax.imshow(cover)
    ax.axis("off")
    fig.text(0.05, 0.78, "What Does Zero Mean?", size=58, weight="bold", va="center")
    fig.text(0.05, 0.62, "Grad-CAM, symmetry and the reference point", size=28, va="center")
    fig.savefig(STATIC / "card.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
