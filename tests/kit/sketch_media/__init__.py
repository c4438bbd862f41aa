"""A backend for the kit's own tests: masks, conversations, rules, extra parameters."""
