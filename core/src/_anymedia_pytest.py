"""The pytest plugin of the conformance kit. It imports anymedia only inside fixtures, so that coverage is right."""
