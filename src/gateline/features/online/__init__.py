"""Views kept online: the port of the store, the state of each entity, and reading it as of a time."""
