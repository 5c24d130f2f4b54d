"""The book's laboratory: what its chapters experiment with.

It imports the tool, never the reverse.

scenes       pictures of digits with a mask for each
pictures     six photographs, and collages of two
nets         the small network of the scenes, with its trained weights
transformer  a small vision transformer of single digits, and other ways to write it
encodings    labels written as numbers, and the losses that read them
training     a training loop that gives the same weights twice
studies      numbers from many seeds, a file for each chapter that has some; stored in results/
exercises    the functions that readers write, what is compared, and the hints
ledger       claims, and the numbers in prose that a cell has printed
explorer     the explorable of the site: explorer.py computes what explorer.json stores, explorer.js
             draws it, with sliders and buttons
write        the page where a heatmap is written: write.py, write.json and write.js, likewise;
             drawing.js holds what both draw with
sliders      a slider for readers with a kernel, and its picture for the rest
provenance   what is stored beside every number: the command, the day, the versions
"""
