"""Takes what looks like a secret out of texts that are shown to others, as `queuectl bundle` does.

Nothing can know every secret: what is found are values of variables, values that follow or belong to a name such as
`password`, credentials in addresses, and keys of well-known forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

LEFT_OUT = "(left out)"
_SAYS_IT = r"(?:password|passwd|passphrase|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credential)s?"
"""What means a secret at the end of any name, as in PGPASSWORD."""
_NAME = rf"(?:\w*{_SAYS_IT}|pass|sshpass|pwd|auth|cookie)"
_IS_SECRET_NAME = re.compile(rf"(?:^|[-_.]){_NAME}(?:$|[-_.])", re.IGNORECASE)
_VALUE = r"""(?:"[^"\n]*"|'[^'\n]*'|[^\s"',;&|()]+)"""
_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", ""),
    (r"(?<=://)[^\s/@\"']+(?=@)", ""),
    (r"(?i)\b((?:proxy-)?authorization\s*[:=]\s*(?:(?:basic|bearer|token|digest)\s+)?)[^\s\"']+", r"\1"),
    (r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}", r"\1"),
    (rf"(?i)(\b(?:\w+[-_.])*{_NAME}(?:[-_.]\w+)*[\"']?\s*[=:]\s*){_VALUE}", r"\1"),
    (rf"(?i)(--(?:\w+[-_])*{_NAME}(?:[-_]\w+)*\s+)(?!-){_VALUE}", r"\1"),
    (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", ""),
    (r"\b(?:gh[oprsu]_|github_pat_|glpat-|xox[abprs]-|sk-|hf_)[\w-]{16,}", ""),
    (r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*", ""),
)
"""What a secret looks like, and what of it is kept."""


def is_name_of_secret(name: str) -> bool:
    """Whether a variable or key of this name is expected to hold a secret."""
    return _IS_SECRET_NAME.search(name) is not None


def values_in(body: Any) -> list[str]:
    """The values of a job's variables, and of keys that name a secret, which must not appear anywhere else either.

    A short value whose name does not sound like a secret's is not among them: `C` and `10` are in every text.
    """
    found: set[str] = set()

    def walk(value: Any, name: str, is_variable: bool) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                walk(item, str(key), is_variable or key == "env")
        elif isinstance(value, list):
            for item in value:
                walk(item, name, is_variable)
        elif value is not None and not isinstance(value, bool):
            text = str(value)
            if len(text) >= (3 if is_name_of_secret(name) else 8) and (is_variable or is_name_of_secret(name)):
                found.add(text)

    walk(body, "", False)
    return sorted(found, key=len, reverse=True)


def cleaner(values: Iterable[str]) -> Callable[[str], str]:
    """A function that leaves these values and what looks like a secret out of a text."""
    known = [value for value in values if value]
    pattern = re.compile("|".join(map(re.escape, known))) if known else None

    def clean(text: str) -> str:
        if pattern is not None:
            text = pattern.sub(LEFT_OUT, text)
        for secret, instead in _PATTERNS:
            text = re.sub(secret, f"{instead}{LEFT_OUT}", text)
        return text

    return clean


def without_secrets(value: Any, clean: Callable[[str], str], *, hide: bool = False) -> Any:
    """A value of JSON without secrets: all values of `env` and of keys that name one, and what `clean` leaves out."""
    if isinstance(value, Mapping):
        return {
            clean(str(key)): without_secrets(item, clean, hide=hide or key == "env" or is_name_of_secret(str(key)))
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(item, clean, hide=hide) for item in value] if hide else _words(value, clean)
    if hide:
        return value if value is None else LEFT_OUT
    return clean(value) if isinstance(value, str) else value


def _words(value: list[Any], clean: Callable[[str], str]) -> list[Any]:
    """A list, in which a word after an option that names a secret is one: `["--password", "x"]`."""
    found = []
    before = ""
    for item in value:
        is_secret = isinstance(item, str) and before.startswith("-") and is_name_of_secret(before.lstrip("-"))
        found.append(LEFT_OUT if is_secret else without_secrets(item, clean))
        before = item if isinstance(item, str) else ""
    return found
