"""A detector of the registry as an HTTP service: scores of pictures, a web page, and a log of scored pictures."""
