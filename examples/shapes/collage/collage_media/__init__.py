"""Collage for anymedia."""
