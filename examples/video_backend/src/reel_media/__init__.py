"""Reel for anymedia."""
