"""The broker of all Kafka tests, for a run that does nothing to it."""


class SharedBroker:
    """A broker that others use too: nobody kills it."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def start(self) -> None:
        """Refuse."""
        raise AssertionError("it runs for others too")

    def kill(self) -> None:
        """Refuse."""
        raise AssertionError("it runs for others too")
