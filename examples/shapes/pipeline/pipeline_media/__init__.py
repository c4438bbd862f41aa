"""Pipeline for anymedia."""
