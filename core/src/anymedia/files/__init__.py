"""Files on this machine: opened and written by descriptor, below allowed directories, without following links.

names.py          what a media file may be called
safe_dir.py       walk directories by descriptor
paths.py          open inputs, plan outputs
atomic_writer.py  write a private temporary, then link it into place
verified_read.py  read a file again and check that it is unchanged
"""
