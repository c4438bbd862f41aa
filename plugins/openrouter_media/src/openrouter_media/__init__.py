"""OpenRouter for anymedia: the models of many makers behind one key.

plugin            the hooks, thin
capabilities.toml the rows that could be had beforehand; `anymedia models --refresh` puts the service's own in their place
images            POST /images: from words, and from pictures
videos            POST /videos: from words, frames, pictures, an earlier job; looking at a job
speech            POST /audio/speech
listing           the service's lists of models, read
rows              a listed model -> a row of the matrix
descriptors       what the lists say of one option -> what the matrix says
_client           one HTTP session per instance; the key goes to the service's own address only
_answers          what an answer says it cost
_errors           one table: what was answered -> which error it is
_options          which options are sent
"""
