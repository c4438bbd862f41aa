"""OpenAI for anymedia, and servers that speak its protocol.

plugin            the hooks, thin
capabilities.toml the matrix: pure data
images            the Images API: generate, edit, masks, references
conversation      multi-turn images through the Responses API
videos            the videos protocol, on a compatible server: create, remix, edit, extend, look, cancel, find
speech            the Speech API
listing           which models the provider lists now
_client           one SDK client per instance; answers read with bounded memory
_answers          an answer of the Responses API, decoded in one pass
_errors           one table: what was answered -> which error it is
"""
