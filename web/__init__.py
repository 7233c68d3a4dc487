"""The HTTP interface: routes, the page, and the client. Start with `app.py`."""
