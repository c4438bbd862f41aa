"""The edge to files and network: whatever enters or leaves passes here, and is checked here.

names      what a media file may be called
paths      opening inputs and planning outputs, by descriptor walk from allowed roots
writing    a private temporary beside the final name, linked into place when complete
addresses  which URLs and network addresses may be contacted
fetch      the guarded fetcher
collect    a piece becomes a checked file
sniff      what bytes are, from their headers and structure; one headers_* room for each format
pictures   opening pictures with Pillow: guarded, upright, never a stray error
encoding   writing pictures: which format holds what, and what is lost
converting an input picture in a form that a model takes
load       a request's inputs become bytes
formats    which formats the core can write here and now
transform  files in another format, a video's last frame; transform_picture by Pillow, transform_av by PyAV
media_process  decoding in a child with bounded memory and time
"""
