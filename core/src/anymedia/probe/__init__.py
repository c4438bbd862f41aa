"""What bytes are, decided by their headers and structure, before anything decodes them.

probe.py             detect the format, check the structure, reject polyglots
reader.py            bounded reads, `Facts` and `Limits`
pictures, audio, ...   the formats
"""
