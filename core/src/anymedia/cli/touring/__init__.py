"""The tour: a chain of media that the local backend makes, and a page that shows it.

steps.py   what is asked for, one step after another
page.py    the steps as one static page
page.css   how it looks
"""
