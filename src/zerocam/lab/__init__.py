"""The book's laboratory: what its chapters experiment with.

It imports the tool, never the reverse.

scenes      pictures of digits with a mask for each
pictures    six photographs, and collages of two
nets        the small network of the scenes, with its trained weights
encodings   labels written as numbers, and the losses that read them
training    a training loop that gives the same weights twice
studies     numbers from many seeds, stored in results/ with the command that made them
ledger      claims, and the numbers in prose that a cell has printed
exercises   what a reader's answer is compared with, and the hints
explorer    the explorable of the site
"""
