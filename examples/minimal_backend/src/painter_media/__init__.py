"""Painter for anymedia."""
