"""Sounds.

requests.py      request -> outcome
espeak.py        speech by espeak-ng, from the wheel of the extra `speech`
score.py         prompt -> what to play: tones, notes, noises, or a small piece of music
instruments.py   one note each, as samples
studio.py        a score -> stereo samples
encode.py        samples -> wav, mp3, flac, ogg
"""
