"""Moving pictures.

requests.py   request -> spec (JSON, everything a rendering needs) -> Job
jobs.py       one thread per rendering; checked, cancelled and resumed by any process
films.py      spec -> frames
motion.py     moving over a picture, from one picture to another, on from the last frames
codec.py      frames <-> H.264 in MP4, VP9 in WebM
joining.py    appending without touching what is there
"""
