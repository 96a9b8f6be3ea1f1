"""HTTP to a control listener, with errors that say what was tried and what to do."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Self

import httpx2

__all__ = ["ControlClient", "ControlError"]

DEFAULT_PORT = 9900
_TIMEOUT_S = 10.0
_ADVICE = (
    "is shedproxy running? Its control listener is what --control or control.listen say; pass that"
    " as URL"
)
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")


class ControlError(Exception):
    """The instance cannot be reached, or said no."""

    def __init__(
        self,
        message: str,
        *,
        is_usage: bool = False,
        is_absent: bool = False,
        content: dict[str, Any] | None = None,
    ) -> None:
        self.is_usage = is_usage
        """The request itself was wrong."""
        self.is_absent = is_absent
        """Nobody answered, or not to the end: it may be about to start again."""
        self.content = content or {}
        """The problem that was answered (RFC 9457), if one was."""
        super().__init__(message)


class ControlClient:
    """One control listener. Proxies and other settings of the environment do not apply.

    Without a token, the order key of a listener on loopback is shown, when it asks for it and this
    user can read it (`shedproxy.listening.order_key`).

    Args:
        url: where it is.
        token: to be shown; "" for none.
        name: what kind of listener it is.
        advice: what to do when nobody answers.
        port: of an address that names none.
        timeout_s: seconds until that is believed.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        transport: httpx2.BaseTransport | None = None,
        name: str = "control listener",
        advice: str = _ADVICE,
        port: int = DEFAULT_PORT,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._name, self._advice, self._timeout_s = name, advice, timeout_s
        self._shown = base = url
        if url.startswith("unix:") and len(url) > len("unix:"):
            transport = transport or httpx2.HTTPTransport(
                uds=url.removeprefix("unix:"), trust_env=False
            )
            base = "http://localhost"
        elif "://" not in url:
            base = self._shown = _complete(url, port)
        if not base.startswith(("http://", "https://")) or not base.partition("://")[2].strip("/"):
            raise ControlError(
                f"{url!r} is no {name}: expected http://host:port or unix:/path",
                is_usage=True,
            )
        headers = {"authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx2.Client(
                base_url=base,
                headers=headers,
                timeout=timeout_s,
                trust_env=False,
                transport=transport,
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise ControlError(f"{url!r} is no URL: {error}", is_usage=True) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        body: dict[str, Any] | None = None,
        good: tuple[int, ...] = (200,),
    ) -> dict[str, Any]:
        """The JSON object that was answered.

        Raises:
            ControlError: nothing answers, it is no control listener, or it refused.
        """

        def send() -> httpx2.Response:
            return self._http.request(method, path, params=tuple(query or ()), json=body)

        try:
            answer = send()
            if answer.status_code == 401 and self._found_order_key(answer):
                answer = send()
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise ControlError(
                f"nothing answers at {self._shown}: {_ERRNO.sub('', str(error))}\n  {self._advice}",
                is_absent=True,
            ) from error
        except httpx2.TimeoutException as error:
            raise ControlError(
                f"{self._shown} did not answer within {self._timeout_s:g} s", is_absent=True
            ) from error
        except httpx2.HTTPError as error:
            what = str(error) or type(error).__name__
            raise ControlError(f"{self._shown}: {what}", is_absent=True) from error
        except UnicodeError as error:  # of a host's name, found when it is looked up
            raise ControlError(f"{self._shown} is no URL: {error}", is_usage=True) from error
        content = _read_object(answer)
        if answer.status_code in good and content is not None:
            return content
        raise self._refusal(path, answer, content)

    def _found_order_key(self, answer: httpx2.Response) -> bool:
        """Whether there is a key to be shown from now on, to the very address that answered."""
        file = (_read_object(answer) or {}).get("order_key")
        stream = answer.extensions.get("network_stream")
        where = None if stream is None else stream.get_extra_info("server_addr")
        url = self._http.base_url
        if (
            "authorization" in self._http.headers
            or not isinstance(file, str)
            or not isinstance(where, tuple)
            or url.scheme != "http"
        ):
            return False
        from shedproxy.listening import address_of, read_order_key

        # A name may stand for several addresses, and each may be somebody else's.
        host, port = where[:2]
        key = read_order_key(file, address_of(host, port))
        if key:
            self._http.base_url = url.copy_with(host=host, port=port)
            self._http.headers["authorization"] = f"Bearer {key}"
        return bool(key)

    def _refusal(
        self, path: str, answer: httpx2.Response, content: dict[str, Any] | None
    ) -> ControlError:
        if content is None or "detail" not in content:
            return ControlError(
                f"{self._shown} answered {answer.status_code} {answer.reason_phrase}: this is no"
                f" {self._name} of shedproxy (the port of the proxy itself?)"
            )
        detail = str(content["detail"])
        if answer.status_code == 404 and detail == "Not Found":
            return ControlError(
                f"{self._shown} has no {path}: this is no {self._name} of shedproxy, or one of"
                " another version"
            )
        if answer.status_code in {401, 403} and "order_key" not in content:
            detail += "\n  pass the token with --token-file"
        is_usage = answer.status_code in {400, 422}
        return ControlError(detail, is_usage=is_usage, content=content)


def _complete(address: str, default_port: int) -> str:
    """A URL of what is written like a listen address, or a host alone."""
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, port = address, str(default_port)
    return f"http://{host or '127.0.0.1'}:{port}"


def _read_object(answer: httpx2.Response) -> dict[str, Any] | None:
    try:
        content = answer.json()
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
