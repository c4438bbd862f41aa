"""Twins for anymedia."""
