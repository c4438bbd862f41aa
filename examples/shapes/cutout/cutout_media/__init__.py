"""Cutout for anymedia."""
