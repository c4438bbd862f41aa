"""Access to files and the network: everything that enters or leaves is checked here.

names      media file names and suffixes
walk, paths  opening inputs and planning outputs, confined to allowed directories
writing    atomic writes: a private temporary file, linked to its final name when complete
kept       verified reads of files recorded earlier
addresses  which URLs and network addresses may be contacted
fetch, download  the guarded HTTP fetcher and its streamed responses
collect    saving one piece of a result as a checked file
sniff      format detection and structure checks; one ``headers_*`` module per format
pictures   decoding, converting and encoding images with Pillow
load       a request's inputs in the form the model accepts
formats    formats that can be written with what is installed
transform  transcoding files and extracting a video's last frame; ``transform_av`` with PyAV
media_process  decoding in a child process with bounded memory and time
"""
