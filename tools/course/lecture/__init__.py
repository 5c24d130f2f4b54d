"""The lecture: slides for reveal.js, a booklet, handouts, figures, and the votes as questions.

slides.toml   what is shown and said, slide by slide
talk          reads it
drawings      the figures that are drawn, from the examples by hand
figures       those that are computed, from the networks of the chapters
page          one HTML file of it, and the booklet; deck.css, paper.css
handouts      what is given out on paper: paper/*.md
gift          the votes for a learning platform
build         writes all of it; needs Chromium
"""
