"""A whole Django project in one file.

fastwsgi -w 2 examples.django_app:app
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest

settings.configure(
    ALLOWED_HOSTS=["*"],
    # For an example only: in earnest it is a secret, kept out of the source.
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "an example has no secrets"),
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    USE_TZ=True,
)

FORM = """<!doctype html><title>Django on fastwsgi</title>
<h1>Django on fastwsgi</h1>
<p>Worker {}. <a href="{}">JSON</a>, <a href="{}">a streamed page</a>.</p>
<form method="post" action="{}" enctype="multipart/form-data">
<input type="hidden" name="csrfmiddlewaretoken" value="{}">
<input type="file" name="file" multiple> <button>Upload</button></form>"""


def index(request: HttpRequest) -> HttpResponse:
    links = (reverse("hello"), reverse("stream"), reverse("upload"))
    return HttpResponse(format_html(FORM, os.getpid(), *links, get_token(request)))


def hello(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"message": "Hello from fastwsgi", "args": request.GET.dict(), "worker": os.getpid()})


def stream(_request: HttpRequest) -> StreamingHttpResponse:
    def rows() -> Iterator[str]:
        for number in range(1, 1001):
            yield f"{number} squared is {number * number}\n"

    return StreamingHttpResponse(rows(), content_type="text/plain")


def upload(request: HttpRequest) -> HttpResponse:
    files = request.FILES.getlist("file")
    rows = format_html_join("", "<li>{}: {} bytes</li>", ((file.name, file.size) for file in files))
    return HttpResponse(format_html("<!doctype html><title>Uploaded</title><ul>{}</ul>", rows))


urlpatterns = [
    path("", index, name="index"),
    path("hello.json", hello, name="hello"),
    path("stream", stream, name="stream"),
    path("upload", upload, name="upload"),
]

app = get_wsgi_application()
