"""Where fuzzing begins: for each target a few inputs that get far, and some that once broke something."""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from tests.fuzz.targets import HOOKS, RULES, TARGETS

from flowgauge.schemas.control import Noted, encode_control
from flowgauge.schemas.sample import Sample, SampleMessage, encode_message

_DATA: Final = Path(__file__).parents[1] / "data"
_EVENT: Final = (
    b'{"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","tenant":"acme","occurred":"2025-11-30T10:53:20Z","event":"a.b",'
    b'"kind":"flow-run","flow":"f","run":"r","state":"failed","scheduled_for":"2025-11-30T10:50:00+01:00",'
    b'"resource":{"id":"x","env":"prod"},"related":[{"id":"y","role":"tag"}],"payload":{"message":"disk full"},'
    b'"colour":"red"}'
)
_DEEP: Final = b'{"a":' + b"[" * 2_000 + b"]" * 2_000 + b"}"  # nested deeper than Python's stack
_ANY: Final = (b"", b"{}", b"[]", b"\xff", b"null", b'"', b"1e999", _DEEP)
_PREFECT: Final = (
    b'{"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","occurred":"2025-11-30T10:53:20Z","event":"prefect.flow-run.Failed",'
    b'"resource":{"prefect.resource.id":"prefect.flow-run.1","prefect.state-type":"FAILED"},"related":[],"payload":{}}'
)
_LOG: Final = (
    b'{"name":"a","level":20,"message":"m","timestamp":"2025-11-30T10:53:20Z","flow_run_id":'
    b'"6ba7b810-9dad-11d1-80b4-00c04fd430c8"}'
)
_CLOUD: Final = (
    b'{"specversion":"1.0","id":"1","source":"/a","type":"t","time":"2025-11-30T10:53:20Z","data":{"a":1},"x":"y"}'
)
_LINEAGE: Final = (
    b'{"eventType":"COMPLETE","eventTime":"2025-11-30T10:53:20Z","run":{"runId":"6ba7b810-9dad-11d1-80b4-00c04fd430c8"},'
    b'"job":{"namespace":"n","name":"j"},"inputs":[{"namespace":"n","name":"d"}],"outputs":[],"producer":"https://p",'
    b'"schemaURL":"https://openlineage.io/spec/2-0-2/OpenLineage.json"}'
)
_CHANNELS: Final = b"channels:\n  - name: ops\n    webhook: {url: 'https://a.test', secret: {env: S}}\n"
_PRICES: Final = b"prices:\n  - {flow: '*', per: hour, cost: 0.1, currency: EUR}\nteams:\n  - {flow: 'a*', team: x}\n"
_SETTINGS: Final = b'port = 1\n[tenants.acme]\ntokens = [{ env = "A" }]\n[limits]\nburst = "10s"\n'
_TEXTS: Final = (b"1h30m", b"2025-11-30T10:53:20Z", b"flow=~a.*", b"Mon-Fri 09:00-17:00", b"{{ value|percent }}")


def _gzip(of: bytes) -> bytes:
    """Return `of` packed without the time: workers that collect in other seconds must find the same tests."""
    return gzip.compress(of, mtime=0)


def _captured() -> list[bytes]:
    (capture, *_) = sorted(_DATA.glob("*-extract.jsonl.gz"))
    with gzip.open(capture) as lines:
        return [line for line, _ in zip(lines, range(5), strict=False)]


def seeds_of(target: str) -> Sequence[bytes]:
    """Return where the fuzzing of `target` begins."""
    return [*_ANY, *_SEEDS.get(target, ())]


def all_seeds() -> list[tuple[str, bytes]]:
    """Return every seed with the name of its target."""
    return [(target, seed) for target in TARGETS for seed in seeds_of(target)]


_SEEDS: Final[Mapping[str, Sequence[bytes]]] = {
    "event": (_EVENT, _EVENT[:-1] + b',"deep":' + _DEEP + b"}"),
    "record": (_EVENT,),
    "hook": (b'{"job":"a","id":1,"status":"ok","steps":[{"at":"2025-11-30T10:53:20Z","name":"b"}],"labels":["x"]}',),
    "hooks": (HOOKS.encode(), HOOKS.replace("zen", "!" * 900 + "a").encode()),
    "matched": (_EVENT, _EVENT[:-1] + b',"deep":' + _DEEP + b"}"),
    "body": (b"\0[" + _EVENT + b"," + _EVENT + b"]", b"\1" + _EVENT + b"\n" + _EVENT, b'\0[{"a":NaN},{}]'),
    "gunzip": (_gzip(_EVENT), _gzip(b"a") + _gzip(b"b"), _gzip(b" " * 1_000_000)),
    "prefect": (_PREFECT, _LOG),
    "prefect_message": (_PREFECT, b'{"type":"auth","token":"a:b"}', b"Basic YTpi"),
    "cloud_event": (_CLOUD, b"ce-time\n2025-11-30T10:53:20Z\n{}", b"content-type\napplication/json\n" + _DEEP),
    "lineage": (_LINEAGE,),
    "capture": _captured(),
    "history": (_EVENT[:-1] + b',"_append":1764500000000}',),
    "rules": (
        RULES.encode(),
        b"rules: &a [*a]",
        b"rules: [" * 500,
        b"a: !!python/object:os.system x",
        b"rules: [{(a: x}]\n",
    ),
    "channels": (_CHANNELS, b"(a: x\n", b"channels: [{(a: x}]\n"),
    "prices": (_PRICES, b"(a: x\n", b"prices: [{(a: x}]\n"),
    "automations": (b'[{"name":"a","trigger":{"type":"event","posture":"Reactive","expect":["x"],"threshold":1}}]',),
    "settings": (_SETTINGS,),
    "texts": _TEXTS,
    "control": (
        encode_control(Noted(control_id="c", tenant="a", at_ms=0, by="ann", incident_id="i", text="t")),
        b'{"type":"note","deep":' + _DEEP + b"}",
    ),
    "samples": (
        encode_message(SampleMessage("l", 0, 0, 1, 0, 1, 0, list[Sample]())),
        msgspec.msgpack.encode([[[]]]),
        b"\x91" * 5_000,
    ),
    "stored": (_EVENT,),
    "kafka": (
        b"key\nfg-kind\n1\n" + _EVENT,
        b"\nfg-append\n9\n",
        b"\xff\nfg-kind\n-1\n",
        b"\nfg-kind\n" + b"9" * 5_000,
    ),
    "answer": (b'{"accepted":1,"rejected":0,"errors":[]}', b"60", "²".encode()),
    "authorization": (b"Bearer a token of acme", b"bearer"),
}
