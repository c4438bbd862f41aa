"""Offline images, videos and sounds for anymedia, made by rules; it reads keywords, it understands nothing.

plugin.py           the hooks, thin; nothing heavy is imported before one is called
capabilities.toml   what the four models can do
words.py            prompt -> Wish: the keywords that are known
recipe.py           Wish + seed -> Recipe: every choice made, JSON, enough to draw the same again
scenes/             Recipe -> pixels at a time t
text.py             quoted words, drawn with OpenCV's own fonts
pictures.py         bytes <-> pixels
edits/              masks, erasing, filling, growing, keyword adjustments, style, structure, subjects
images.py           the three image operations
videos/             moving pictures: frames, encoding, going on, jobs
sounds/             speech by espeak-ng, music by arithmetic
state.py            the private directory that keeps a job's input bytes
"""
