"""The smallest page of a Django site: its default request and response cycle, and one view."""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from .apps import BODY

__all__ = ["app", "item", "urlpatterns"]

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="a benchmark has none",
    LOGGING_CONFIG=None,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # which sets Content-Length
)


def item(request: HttpRequest, number: int) -> HttpResponse:  # noqa: ARG001
    """Answer with the body of `apps.hello`."""
    return HttpResponse(BODY, content_type="text/plain; charset=utf-8")


urlpatterns = [path("shop/item/<int:number>", item)]
app = get_wsgi_application()
