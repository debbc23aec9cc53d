"""A program on the host that runs flowgauge, for what no API does. Off unless the operator's settings list it.

The program is started by its absolute path and without a shell, in a session of its own, with a clean environment. What
happened is JSON on its standard input, as a webhook has it, so nothing that a run is called is ever an argument. What
it prints is thrown away. At the deadline, and when flowgauge ends, its whole process group is killed; a process that it
leaves behind in its group ends with it.
"""

import asyncio
import contextlib
import os
import signal
from typing import Annotated

from pydantic import AfterValidator, Field

from flowgauge.schemas.setting_forms import program_form
from flowgauge.sinks.webhooks.actions.action_kind import ActionKind, OutcomeUnknown
from flowgauge.sinks.webhooks.kinds.kind import Means, Notice
from flowgauge.sinks.webhooks.message import message_body
from flowgauge.sinks.webhooks.schedule import Verdict

ARGUMENTS_MAX = 50
ARGUMENT_CHARS_MAX = 1_000
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}  # all that the program gets to know
NOT_LISTED = "refused: the program is not in actions.commands here"
NOT_STARTED = "the program cannot be started"
TIMED_OUT = "the program did not end in time"

Argument = Annotated[str, Field(max_length=ARGUMENT_CHARS_MAX, pattern=r"^[^\x00]*$")]


def _begins_with_a_program(run: tuple[str, ...]) -> tuple[str, ...]:
    program_form(run[0])
    return run


class Command(ActionKind):
    """A program on the host."""

    run: Annotated[
        tuple[Argument, ...],
        Field(min_length=1, max_length=ARGUMENTS_MAX, strict=False, description="The program's path and arguments."),
        AfterValidator(_begins_with_a_program),
    ]

    @property
    def endpoint(self) -> str:
        """The program."""
        return self.run[0]

    def shown(self, notice: Notice) -> str:
        """Return the program with its arguments, and its standard input."""
        return f"{' '.join(self.run)}\n{_stdin(notice).decode()}"

    async def act(self, notice: Notice, means: Means, deadline_ms: int) -> Verdict:
        """Run the program to its end, if the operator's settings list it."""
        if self.run[0] not in means.commands:
            return Verdict("dead", NOT_LISTED)
        try:
            process = await asyncio.create_subprocess_exec(
                *self.run,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except OSError:
            return Verdict("failed", NOT_STARTED)
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                code = await _ended(process, _stdin(notice))
        except TimeoutError:
            raise OutcomeUnknown(Verdict("failed", TIMED_OUT)) from None
        finally:
            await _kill_group(process)
        if code == 0:
            return Verdict("delivered")
        ended = f"exit status {code}" if code > 0 else f"signal {-code}"
        raise OutcomeUnknown(Verdict("failed", f"the program failed: {ended}"))


def _stdin(notice: Notice) -> bytes:
    return message_body(notice.transition, public_url=notice.public_url)


async def _ended(process: asyncio.subprocess.Process, stdin: bytes) -> int:
    """Give the program its standard input, which fits the pipe's buffer, and wait for its end."""
    assert process.stdin is not None  # noqa: S101  # it was asked for
    process.stdin.write(stdin)
    process.stdin.close()  # not waited for: a program need not read it, and one that ends early breaks the pipe
    return await process.wait()


async def _kill_group(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
