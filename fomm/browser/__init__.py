"""A static page that moves a photo in the browser: the networks, the runtime and the page in one folder."""
