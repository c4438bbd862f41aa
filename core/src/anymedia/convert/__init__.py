"""Decoding and encoding of media.

images.py      open, encode and convert pictures with Pillow
video.py       read and write video and audio with PyAV
sandbox.py     decode in a child process with bounded memory and time
load_input.py  read a request's inputs in the form that the plan chose; transcode a finished file; a video's last frame
"""
