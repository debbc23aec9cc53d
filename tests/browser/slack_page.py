"""Slack messages as a page: the very blocks that a channel sends, drawn in Slack's manner. Slack itself draws finer.

Only what our messages are made of is known: an element of another kind is an error.
"""

import re
from collections.abc import Iterable
from html import escape
from typing import Any

STYLE = """
body { margin: 0; padding: 20px 24px 24px; width: 772px; color: #1d1c1d; background: #fff;
  font: 15px/22px Lato, "Helvetica Neue", Arial, "Noto Sans", sans-serif }
article { display: grid; grid-template-columns: 36px 1fr; gap: 0 10px; padding: 8px 0 12px }
.icon { width: 36px; height: 36px; border-radius: 8px; background: #0b3d2e; color: #fff; font: 700 18px/36px monospace;
  text-align: center }
.from b { font-weight: 900 } .from i { font: 700 10px/14px Arial; color: #616061; background: #ddd; border-radius: 2px;
  padding: 1px 3px; margin: 0 6px } .from time { font-size: 12px; color: #616061 }
h3 { font-size: 18px; line-height: 24px; font-weight: 900; margin: 4px 0 }
p { margin: 4px 0 8px; overflow-wrap: anywhere }
.fields { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 16px; margin: 4px 0 8px; max-width: 620px }
.context { font-size: 13px; color: #616061 } .context span + span { margin-left: 10px }
code { font: 12px/18px Menlo, Consolas, monospace; color: #c01343; background: #f8f8f8; border: 1px solid #ddd;
  border-radius: 3px; padding: 1px 3px }
.emoji { font-size: 0 }
.emoji::before { display: inline-block; width: 14px; height: 14px; border-radius: 7px; content: "";
  margin-right: 2px; vertical-align: -2px; text-align: center; color: #fff; font: 700 11px/14px sans-serif }
.firing::before { background: #dd2e44 }
.silent::before { background: #ccd6dd }
.ended::before { background: #77b255; border-radius: 3px; content: "✓" }
.once::before { background: #ffac33; content: "!" }
a { color: #1264a3; text-decoration: none }
"""
# Drawn by us, as Slack draws them by itself: a machine need not have a font of them.
_EMOJI = {"🔴": "firing", "⚪": "silent", "✅": "ended", "⚡": "once"}
_MARKED = re.compile(r"<(?P<url>[^|>]+)\|(?P<text>[^>]+)>|`(?P<code>[^`]+)`|\*(?P<bold>[^*\n]+)\*|(?P<line>\n)")


def page(messages: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Return the HTML of messages, each with the clock time that stands at it."""
    articles = "".join(
        f'<article><div class="icon">f</div><div><div class="from"><b>flowgauge</b><i>APP</i><time>{time}</time></div>'
        f"{''.join(map(_block, message['blocks']))}</div></article>"
        for time, message in messages
    )
    for emoji, tone in _EMOJI.items():
        articles = articles.replace(emoji, f'<span class="emoji {tone}">{emoji}</span>')
    return f"<!DOCTYPE html><meta charset='utf-8'><title>Slack</title><style>{STYLE}</style><body>{articles}</body>"


def _block(block: dict[str, Any]) -> str:
    match block:
        case {"type": "header", "text": {"type": "plain_text", "text": text}}:
            return f"<h3>{escape(text)}</h3>"
        case {"type": "section", "text": text}:
            return f"<p>{_mrkdwn(text)}</p>"
        case {"type": "section", "fields": fields}:
            return f'<div class="fields">{"".join(f"<div>{_mrkdwn(field)}</div>" for field in fields)}</div>'
        case {"type": "context", "elements": elements}:
            return f'<div class="context">{"".join(f"<span>{_mrkdwn(each)}</span>" for each in elements)}</div>'
        case _:
            raise ValueError(f"a block of the type {block['type']} is not drawn")


def _mrkdwn(text: dict[str, Any]) -> str:
    """Return a text as HTML; its `&lt;`, `&gt;` and `&amp;` mean the same there."""
    assert text["type"] == "mrkdwn"
    return _MARKED.sub(_marked, str(text["text"]))


def _marked(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "text":
            return f'<a href="{found["url"].replace(chr(34), "%22")}">{found["text"]}</a>'
        case "code":
            return f"<code>{found['code']}</code>"
        case "bold":
            return f"<b>{found['bold']}</b>"
        case _:
            return "<br>"
