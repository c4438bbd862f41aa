"""Google for anymedia, through the google-genai SDK: one plugin, two services (the Gemini API and Agent Platform).

plugin.py          the hooks; everything else is imported when one of them is called
capabilities.toml  the matrix: which model of which service does what, with sources and dates
_client.py         one SDK client per instance; what is sent once is sent once
_errors.py         the table from the SDK's two exception families to ours
_refusals.py       answers that hold no media: blocked, empty, only words
_recipes.py        words in place of masks, styles, structures and subjects
_content.py        generate_content: one turn, or a chat told again
_interactions.py   the Interactions API: one turn, a job, its state
images.py          pictures by Gemini image models
imagen.py          pictures by the typed endpoint (generate_images, edit_image)
omni.py  veo.py    videos
audio.py           speech and music
jobs.py  listing.py
"""
