"""What an address of a server is. Light, and imports the HTTP client only when it is asked."""

from typing import Final

PORT_MAX: Final = 65_535


def is_address(url: str) -> bool:
    """Tell whether a request could be made to `url`."""
    import httpx2  # noqa: PLC0415  # a worker that only imports the publisher does not pay for it

    try:
        parts = httpx2.URL(url)
        return (
            parts.scheme in {"http", "https"} and bool(parts.host) and " " not in url and (parts.port or 0) <= PORT_MAX
        )
    except (httpx2.InvalidURL, ValueError):
        return False
