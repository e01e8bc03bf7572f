"""Measured speed beside a bare aiohttp loop; see README.md here. ``python -m benchmarks`` runs it."""
