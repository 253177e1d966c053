"""What each request passes before a route sees it: who may call, how large a body may be and how slow a caller."""
