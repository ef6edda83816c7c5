"""A Django project that leans on the server: forms, uploads, streams, cookies, redirects, files, signals."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="for tests only",
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.common.CommonMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
    ],
    USE_TZ=True,
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
)

FINISHED: list[Any] = []


def note_end(**kwargs: object) -> None:
    FINISHED.append(kwargs["sender"])


request_finished.connect(note_end)


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<h1>Grüße</h1>")


def where(request: HttpRequest, rest: str) -> JsonResponse:
    return JsonResponse(
        {"path": rest, "url": request.build_absolute_uri(), "args": dict(request.GET.lists())}
    )


def form(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"form": dict(request.POST.lists())})


def upload(request: HttpRequest) -> JsonResponse:
    files = {}
    for key, file in request.FILES.items():
        data = file.read()
        files[key] = [file.name, file.content_type, len(data), zlib.crc32(data)]
    return JsonResponse({"note": request.POST.get("note"), "files": files})


def raw(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"size": len(request.body), "crc": zlib.crc32(request.body)})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            yield b"%06d %s\n" % (number, request.GET["word"].encode())

    return StreamingHttpResponse(pieces(), content_type="text/plain")


def count(request: HttpRequest) -> JsonResponse:
    visits = int(request.COOKIES.get("visits", "0")) + 1
    response = JsonResponse({"visits": visits, "cookies": sorted(request.COOKIES)})
    response.set_cookie("visits", str(visits))
    response.set_cookie("second", "2")
    return response


def away(request: HttpRequest) -> HttpResponseRedirect:
    return HttpResponseRedirect("/")


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(Path(__file__).open("rb"), content_type="text/x-python")


def error(request: HttpRequest) -> HttpResponse:
    msg = "the view fails on purpose"
    raise RuntimeError(msg)


def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204)


def finished(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"finished": len(FINISHED)})


urlpatterns = [
    path("", index),
    path("path/<path:rest>", where),
    path("form", form),
    path("upload", upload),
    path("raw", raw),
    path("stream", stream),
    path("count", count),
    path("away", away),
    path("file", file),
    path("error", error),
    path("empty", empty),
    path("finished", finished),
]

app = get_wsgi_application()
