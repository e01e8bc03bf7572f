"""Push a whole dataset through Cloudflare Workers AI, unattended, on a daily budget of neurons."""

__version__ = "0.1.0"
