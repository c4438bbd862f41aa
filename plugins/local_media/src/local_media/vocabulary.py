"""The words this backend knows."""

from __future__ import annotations

__all__ = ["ABSENT", "COLOURS", "FEATURES", "INSIGNIFICANT", "MOVES", "NUMBERS", "PLACES", "REMOVAL", "SEASONS", "SHAPES", "TIMES"]

TIMES = {
    "dawn": ("dawn", "sunrise", "morning", "daybreak"),
    "day": ("day", "noon", "midday", "sunny", "daylight", "blue sky", "afternoon"),
    "sunset": ("sunset", "evening", "golden hour", "sundown"),
    "dusk": ("dusk", "twilight", "blue hour", "nightfall"),
    "night": ("night", "midnight", "starry", "moonlight", "moonlit", "nocturnal", "northern lights", "aurora"),
    "storm": ("storm", "stormy", "thunder", "thunderstorm", "overcast", "gloomy", "grey sky", "gray sky"),
}
PLACES = {
    "mountains": ("mountain", "mountains", "alps", "alpine", "peak", "peaks", "fjord", "valley", "summit", "landscape"),
    "hills": ("hill", "hills", "rolling", "vineyard"),
    "desert": ("desert", "dune", "dunes", "sahara", "sand", "oasis"),
    "forest": ("forest", "woods", "woodland", "pines", "taiga", "jungle"),
    "sea": ("sea", "ocean", "waves", "coast", "harbor", "harbour", "seascape"),
    "beach": ("beach", "shore", "tropical", "island", "lagoon"),
    "city": ("city", "skyline", "town", "skyscraper", "skyscrapers", "urban", "street", "metropolis", "cityscape"),
    "meadow": ("meadow", "field", "fields", "prairie", "grass", "countryside", "garden", "pasture"),
    "space": ("space", "galaxy", "nebula", "planet", "cosmos", "cosmic", "universe"),
}
SEASONS = {
    "spring": ("spring", "blossom", "blossoms"),
    "summer": ("summer",),
    "autumn": ("autumn", "fall colors", "fall colours", "indian summer", "october"),
    "winter": ("winter", "wintry", "snowy", "snow", "frozen", "icy", "christmas"),
}
FEATURES = {
    "water": ("water", "lake", "river", "pond", "reflection", "reflections", "fjord", "oasis"),
    "trees": ("tree", "trees", "pine", "pines", "fir", "firs"),
    "snow": ("snow", "snowy", "winter", "wintry", "frozen"),
    "snowfall": ("snowing", "snowfall", "blizzard", "snowflake", "snowflakes", "snow falls", "falling snow"),
    "fog": ("fog", "foggy", "mist", "misty", "haze", "hazy"),
    "rain": ("rain", "rainy", "raining", "drizzle", "downpour"),
    "stars": ("star", "stars", "starry", "milky way"),
    "moon": ("moon", "moonlight", "moonlit", "full moon"),
    "sun": ("sun", "sunny"),
    "clouds": ("cloud", "clouds", "cloudy", "overcast"),
    "birds": ("bird", "birds", "gull", "gulls", "seagull", "seagulls", "swallow", "swallows"),
    "boat": ("boat", "boats", "ship", "sailboat", "yacht", "sailing"),
    "balloon": ("balloon", "balloons", "hot air balloon", "hot air balloons"),
    "lighthouse": ("lighthouse",),
    "house": ("house", "cabin", "cottage", "hut", "barn", "farmhouse"),
    "cactus": ("cactus", "cacti", "saguaro"),
    "palms": ("palm", "palms", "palm tree", "palm trees", "tropical"),
    "aurora": ("aurora", "northern lights", "polar lights"),
    "rainbow": ("rainbow",),
    "flowers": ("flower", "flowers", "poppies", "poppy", "wildflowers", "blossom", "blossoms", "tulips"),
}
SHAPES = {
    "circle": ("circle", "circles", "disc", "discs", "disk", "disks", "dot", "dots", "ball", "balls", "sphere", "spheres"),
    "square": ("square", "squares", "box", "boxes", "cube", "cubes"),
    "rectangle": ("rectangle", "rectangles", "bar", "bars"),
    "triangle": ("triangle", "triangles", "pyramid", "pyramids"),
    "star": ("star", "stars"),
    "ring": ("ring", "rings"),
    "heart": ("heart", "hearts"),
    "hexagon": ("hexagon", "hexagons"),
    "diamond": ("diamond", "diamonds"),
    "cross": ("cross", "crosses"),
}
#: Names of colours and what they are (R, G, B).
COLOURS = {
    "red": (214, 48, 49),
    "crimson": (178, 24, 60),
    "orange": (240, 138, 36),
    "amber": (255, 179, 28),
    "yellow": (248, 213, 70),
    "gold": (224, 176, 64),
    "golden": (224, 176, 64),
    "green": (56, 152, 86),
    "lime": (150, 205, 60),
    "teal": (22, 140, 140),
    "turquoise": (60, 196, 190),
    "cyan": (60, 190, 220),
    "blue": (44, 104, 206),
    "navy": (26, 42, 94),
    "indigo": (72, 62, 160),
    "violet": (128, 84, 196),
    "purple": (134, 62, 168),
    "magenta": (204, 50, 144),
    "pink": (242, 140, 170),
    "brown": (122, 82, 54),
    "black": (22, 22, 26),
    "white": (246, 246, 244),
    "grey": (132, 136, 142),
    "gray": (132, 136, 142),
    "silver": (190, 196, 204),
}
NUMBERS = {
    "a": 1,
    "an": 1,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "several": 5,
    "many": 12,
    "dozen": 12,
}
ABSENT = frozenset({"no", "without", "not"})
REMOVAL = frozenset({"remove", "erase", "delete", "clean", "cleanup", "nothing", "empty", "clear", "away", "gone"})
#: How the camera moves over a picture.
MOVES = {
    "out": ("zoom out", "zooms out", "pull back", "pulls back", "pulling back", "zooming out", "wider", "away"),
    "in": ("zoom", "zooms", "zoom in", "zooms in", "zooming", "push in", "closer", "approach", "approaches", "dolly"),
    "left": ("pan left", "pans left", "to the left", "left"),
    "right": ("pan right", "pans right", "to the right", "right", "pan", "pans", "panning"),
    "up": ("tilt up", "looks up", "pan up", "upward", "upwards", "rises", "rise", "up"),
    "down": ("tilt down", "looks down", "pan down", "downward", "downwards", "descends", "down"),
    "turn": ("rotate", "rotates", "rotating", "spin", "spins", "roll", "turns"),
    "still": ("still", "static", "motionless", "locked"),
}
_INSIGNIFICANT = """
a about above across after all along also am an and any are around as at be before behind below beside between but by can camera could
create do does draw each every film for from generate get give go goes going has have here her his i illustration image in into is it
its just keep let like made make me more movie my near new next now of off on one onto or our out over paint photo photograph picture
please put render same scene she shot show shows sky skies slowly so some that the their them then there these this those through to
toward towards turn under until upon us use very video view we while will with you your add change continue continues
"""
#: Words that ask for nothing by themselves; every scene has a sky, and every video moves.
INSIGNIFICANT = frozenset(_INSIGNIFICANT.split())
