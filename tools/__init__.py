"""What the commands of the Makefile run: python -m tools.NAME.

run_tests   the gates: make test, make quick, make portable
course      student and instructor editions, slides, assignments; it has a map of its own
pdf         the whole book as one PDF
release     site, course and wheel, with checksums
card        the picture that a shared link shows
ideas       the drawings of ideas
symptoms    the pictures of what readers see when a map is wrong
drawing     the strokes that they are made of
paper       the paper for the journal, as its own tool draws it
browser     Chromium, for whoever needs it
urls        the addresses in the metadata of the wheel
"""
