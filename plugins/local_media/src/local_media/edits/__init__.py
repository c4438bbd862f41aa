"""Changes to pictures.

regions.py   masks: reading them, finding the foreground, feathering inwards
fill.py      erasing, filling by prompt, growing beyond the edges
adjust.py    keyword adjustments: brighter, sepia, sketch ...
style.py     colours and texture of another picture
control.py   repainting a picture's structure
subject.py   cutting something out and putting it somewhere
"""
