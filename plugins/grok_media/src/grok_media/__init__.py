"""Grok Imagine for anymedia: images and videos over gRPC through the official SDK, speech over REST.

plugin            the hooks, thin
capabilities.toml the matrix: pure data
images            generate, edit, continue an image: one request message, one call
videos            start, extend, edit, look
stored            finished videos that were kept at the provider: found again, streamed
speech            the REST endpoint for speech, which the SDK lacks
_client           the gRPC channel and the HTTP session of an instance, and where they lead
_inputs           input bytes as data URLs, or through the Files API where a message would grow too large
_options          words of a request -> numbers of the protocol
_errors           one table: status and words of an answer -> which error it is
"""
