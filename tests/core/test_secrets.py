"""What is left out of a bundle as a secret, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core.secrets import LEFT_OUT, cleaner, is_name_of_secret, values_in, without_secrets

CLEANED = {
    "curl -H 'Authorization: Bearer abc.def-123'": "curl -H 'Authorization: Bearer (left out)'",
    "psql postgres://ann:hunter2@db/x": "psql postgres://(left out)@db/x",
    "git clone https://ghp_0123456789abcdefghij@example.org/x": "git clone https://(left out)@example.org/x",
    "mysql --password=hunter2 -u ann": "mysql --password=(left out) -u ann",
    "mysql --db-password hunter2 -u ann": "mysql --db-password (left out) -u ann",
    "DB_PASSWORD=hunter2 ./run": "DB_PASSWORD=(left out) ./run",
    "export API_KEY='a b c'; ./run": "export API_KEY=(left out); ./run",
    '{"api_key": "xyz", "n": 3}': '{"api_key": (left out), "n": 3}',
    "token: abcdef": "token: (left out)",
    "AKIAABCDEFGHIJKLMNOP and more": "(left out) and more",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0.abc": LEFT_OUT,
    "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nafter": "(left out)\nafter",
}
KEPT = (
    "passed 3 tests in token.py",
    "the tokenizer: fast",
    "author: ann",
    "secretary=ann",
    "queuectl --spool /srv/spool list",
    "#queuectl start attempt=1 started_at=20261124T034300.120Z worker=web1.4242.k7f3 pid=4711",
    "https://example.org/a?b=c",
)


@pytest.mark.parametrize("text", CLEANED)
def test_secret_is_left_out(text: str) -> None:
    """Credentials in addresses, options, assignments and headers, and keys of known forms, are not shown."""
    assert cleaner([])(text) == CLEANED[text]


@pytest.mark.parametrize("text", KEPT)
def test_other_text_is_kept(text: str) -> None:
    """What only resembles a secret, and the queue's own lines, are not changed."""
    assert cleaner([])(text) == text


def test_values_of_variables_are_left_out_everywhere() -> None:
    """The value of a variable does not appear in any text, unless it is as short as `C`."""
    body = {"command": "x", "env": {"LANG": "C", "URL": "s3cr3t-value", "TOKEN": "abc"}, "password": "p4ss"}
    clean = cleaner(values_in(body))
    assert clean("C s3cr3t-value abc p4ss") == f"C {LEFT_OUT} {LEFT_OUT} {LEFT_OUT}"


def test_values_of_json_are_left_out() -> None:
    """All values of `env`, values of keys that name a secret and words after such an option; the shape is kept."""
    body = {
        "command": ["mysql", "--password", "hunter2", "-u", "ann"],
        "env": {"LANG": "C"},
        "api_key": {"id": 1, "values": ["x"]},
        "priority": 5,
    }
    assert without_secrets(body, cleaner([])) == {
        "command": ["mysql", "--password", LEFT_OUT, "-u", "ann"],
        "env": {"LANG": LEFT_OUT},
        "api_key": {"id": LEFT_OUT, "values": [LEFT_OUT]},
        "priority": 5,
    }


@pytest.mark.parametrize(
    "name", ["PASSWORD", "db_password", "GITHUB_TOKEN", "api-key", "AWS_SECRET_ACCESS_KEY", "AUTH"]
)
def test_name_of_a_secret(name: str) -> None:
    """Names in any case and with any prefix are recognised."""
    assert is_name_of_secret(name)


@pytest.mark.parametrize("name", ["author", "tokenizer", "compass", "key", "PATH", "secretary"])
def test_name_of_something_else(name: str) -> None:
    """A name that only begins like one is not."""
    assert not is_name_of_secret(name)


@given(st.text(min_size=8, max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_value_of_a_variable_survives(value: str, before: str, after: str) -> None:
    """Whatever the value and the text around it, the value is not in the result."""
    if value not in LEFT_OUT and LEFT_OUT not in value and not set(value) & set(LEFT_OUT):
        assert value not in cleaner(values_in({"env": {"X": value}}))(f"{before}{value}{after}")
