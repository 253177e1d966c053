"""The addresses of the server: the page, photos, videos and cameras."""
