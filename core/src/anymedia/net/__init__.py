"""Outgoing HTTP: which addresses may be contacted, the guarded fetcher, downloads.

addresses.py  which URLs and network addresses are allowed
fetcher.py    fetch a URL with limits on time, size and transfer rate
"""
