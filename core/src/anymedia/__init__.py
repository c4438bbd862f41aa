"""anymedia."""
