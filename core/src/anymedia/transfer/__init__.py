"""The edge to files and network: whatever enters or leaves passes here, and is checked here.

names      what a media file may be called
paths      opening inputs and planning outputs, by descriptor walk from allowed roots
writing    a private temporary beside the final name, linked into place when complete
addresses  which URLs and network addresses may be contacted
fetch      the guarded fetcher
collect    a piece becomes a checked file
sniff      what bytes are, from their headers
load       a request's inputs become bytes
masks      one canonical mask
transform  format, size, frames
"""
