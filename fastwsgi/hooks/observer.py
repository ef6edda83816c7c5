"""pre_request and post_request around the requests of an engine; there is none where neither is set.

pre_request runs where the application does: in its thread, in its context, as the outermost part of it. So it
may take its time, and files still go out by sendfile(2). post_request is called by the engine, in the same
context, once the response is complete, whatever has become of it.

Must not know: the engine, connections. Invariant: post_request gets the very request that pre_request got.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .. import http11
from .views import RequestView, ResponseView

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

    from ..response import Response
    from .actors import WorkerView
    from .calls import Hooks, WorkerHooks

__all__ = ["Observer"]

_ERROR: Final = http11.status_text(500)


class Observer:
    """Calls the hooks of requests in one worker."""

    def __init__(self, hooks: Hooks, worker: WorkerView) -> None:
        self._hooks = hooks
        self._worker = worker
        self._shows_response = hooks.post_request_takes == 4

    @classmethod
    def of(cls, hooks: WorkerHooks) -> Observer | None:
        """Return the observer of a worker; None if its configuration has no hook of requests."""
        return cls(hooks.hooks, hooks.worker) if hooks.hooks.has_request_hooks else None

    def around(self, app: WSGIApplication) -> WSGIApplication:
        """Return what calls pre_request before `app`."""
        pre_request, worker = self._hooks.pre_request, self._worker

        def observed(environ: dict[str, Any], start_response: StartResponse) -> Any:
            request = RequestView(environ.copy())  # the app may change its own
            response: Response = start_response.__self__  # type: ignore[attr-defined]
            response.view = request
            if not pre_request(worker, request):
                # As with gunicorn: a hook that keeps requests out must not let them in by failing.
                start_response(_ERROR, [("Content-Type", "text/plain; charset=utf-8")])
                return [f"{_ERROR}\n".encode()]
            request.carry_over(environ)
            return app(environ, start_response)

        return observed

    def complete(self, response: Response) -> None:
        """Call post_request, if the application or pre_request was called for this response."""
        request = response.view
        if request is None:
            return
        response.view = None
        shown = None
        if self._shows_response:
            shown = ResponseView(
                response.status,
                response.headers,
                response.body_size,
                headers_sent=response.head_sent,
                chunked=response.chunked,
                must_close=not response.keep_alive,
            )
        self._hooks.post_request(self._worker, request, response.request.environ, shown)
