"""Retouch for anymedia."""
