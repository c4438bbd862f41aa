"""Regional for anymedia."""
