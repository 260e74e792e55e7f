"""A trained mix behind a page and a JSON endpoint; needs the extra `serve`."""
