"""What user code imports, and the HTTP client behind it. Light: nothing of the server is loaded here."""
