"""The three HTML pages of the dev issuer: log in, allow a device, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from fastapi.responses import HTMLResponse

from valetkey.devstack.issuer.people import PEOPLE

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
        "form-action 'self' http://127.0.0.1:* http://localhost:*; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STYLE = (
    "body{font:16px system-ui,sans-serif;max-width:30rem;margin:4rem auto;padding:0 1rem}"
    "label{display:block;margin:1rem 0 .3rem}input,select,button{font:inherit;padding:.5rem}"
    "input,select{width:100%;box-sizing:border-box}button{margin:1.2rem .6rem 0 0}"
    "[role=alert]{border-left:4px solid #b00020;padding-left:.8rem}"
)


def login_page(hidden: Mapping[str, str], *, problem: str = "") -> HTMLResponse:
    """Return the login form; `hidden` is the authorization request, sent back with it."""
    body = (
        f"{_alert(problem)}<form method='post' action='/authorize'>{_hidden(hidden)}"
        f"{_credentials()}<button>Log in</button></form>"
    )
    return page("Log in to the Valetkey dev issuer", body, 403 if problem else 200)


def device_page(user_code: str, *, problem: str = "") -> HTMLResponse:
    """Return the form that allows or denies a device."""
    code = escape(user_code, quote=True)
    body = (
        f"{_alert(problem)}<p>Allow only if the code is the one your own terminal shows.</p>"
        "<form method='post' action='/device'><label for='user_code'>Code</label>"
        f"<input id='user_code' name='user_code' value='{code}' required autocomplete='off'>"
        f"{_credentials()}<button name='answer' value='allow'>Allow</button>"
        "<button name='answer' value='deny'>Deny</button></form>"
    )
    return page("Connect a terminal", body, 403 if problem else 200)


def page(title: str, body: str, status: int = 200) -> HTMLResponse:
    """Return one whole page; `body` is HTML already escaped."""
    text = (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)}</h1>{body}</html>"
    )
    return HTMLResponse(text, status_code=status, headers=_HEADERS)


def _credentials() -> str:
    options = "".join(
        f"<option value='{one.login}'>{escape(one.name)}: {escape(', '.join(one.groups))}</option>"
        for one in PEOPLE
    )
    return (
        f"<label for='person'>Sample person</label><select id='person' name='person'>{options}"
        "</select><label for='password'>Password (in the people file of the dev stack)</label>"
        "<input id='password' name='password' type='password' required>"
    )


def _hidden(values: Mapping[str, str]) -> str:
    return "".join(
        f"<input type='hidden' name='{escape(name, quote=True)}' "
        f"value='{escape(value, quote=True)}'>"
        for name, value in values.items()
    )


def _alert(problem: str) -> str:
    return f"<p role='alert'>{escape(problem)}</p>" if problem else ""
