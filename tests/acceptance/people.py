"""People at the console without a browser: cookies, forms with their tokens, pages as text.

with Person(hub) as ann:
    ann.log_in("ann", PASSWORD)
    ann.send("/agents/cart/pause")           # the form's token is looked up on a page
    assert "paused" in ann.see("/agents")
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from hub.registry import user_acts
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from typing import Literal

    from tests.acceptance.real_hub import RealHub

PASSWORD: Final = "correct horse battery"
TOKEN: Final = re.compile(r'name="_csrf_token" value="([0-9a-f]+)"')
ANSWER_S_MAX: Final = 60.0


class Person:
    """One browser's worth of state."""

    def __init__(self, hub: RealHub, **options: Any) -> None:
        base = f"http://{HOST}:{hub.ready.http}/console"
        self.http = httpx.Client(base_url=base, timeout=ANSWER_S_MAX, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def log_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        """Fill in the form."""
        return self.send("/login", name=name, password=password)

    def get(self, path: str) -> httpx.Response:
        """A page, not following where it leads."""
        return self.http.get(path)

    def see(self, path: str) -> str:
        """A page's text."""
        answer = self.http.get(path, follow_redirects=True)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.text

    def send(self, path: str, **fields: str) -> httpx.Response:
        """A form, with the token that its page would have."""
        return self.http.post(path, data={"_csrf_token": self.token(), **fields})

    def token(self) -> str:
        """Of the forms that this browser is given."""
        found = TOKEN.search(self.http.get("/account", follow_redirects=True).text)
        assert found is not None, "no form there"
        return found[1]


def add_user(hub: RealHub, name: str, role: Literal["admin", "owner"] = "owner") -> None:
    """`sheepfold user add`."""
    hub.ask(user_acts.CreateUser(name, role, PASSWORD))
