"""Recipe -> pixels: layers from back to front, each drawn once and then only moved.

stage.py      size, horizon, light, palette: what all layers share
palettes.py   colours of the times of day and the seasons
noise.py      seeded noise that repeats sideways, so that a strip can move for ever
strips.py     a drawn strip that is shifted below the pixel and laid over the picture
sky.py        gradient, sun, moon, stars, clouds, aurora, rainbow
land.py       ridges, hills, dunes        plants.py   trees, palms, cacti, grass
city.py       buildings                   water.py    reflections, waves, glitter
things.py     boats, balloons, birds ...  weather.py  rain, snow, fog
shapes.py     circles, squares, stars     space.py    nebulas and planets
scene.py      which layers, in which order; Scene.frame(t)
"""

from .scene import Scene

__all__ = ["Scene"]
