"""Files on this machine: opened and written by descriptor, below allowed directories, without following links.

names.py          names of media files, and the formats that can be written
safe_dir.py       walk directories by descriptor
paths.py          open inputs, plan outputs
atomic_writer.py  write a private temporary, then link it into place
part_file.py      resumable temporary files; read a file again and check that it is unchanged
"""
