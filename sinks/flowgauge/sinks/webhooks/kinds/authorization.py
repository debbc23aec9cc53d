"""The header by which a service knows us. No secret is part of a message about a mistake."""

import base64

SECRET_FAULT = ("the secret cannot be part of a header", "expected visible ASCII characters on one line")


def header_fault(secret: str) -> tuple[str, str] | None:
    """Return why `secret` cannot stand in a header, and the remedy; None when it can."""
    return None if secret and all("!" <= char <= "~" for char in secret) else SECRET_FAULT


def bearer(token: str) -> dict[str, str]:
    """Return the header of a token. Raises ValueError for what would break it."""
    if fault := header_fault(token):
        raise ValueError(": ".join(fault))
    return {"authorization": f"Bearer {token}"}


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header of a user, which has no colon, and a password."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"authorization": f"Basic {pair}"}
