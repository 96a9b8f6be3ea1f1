from __future__ import annotations

from common import events, gate, shed, told
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from shedproxy import ShedMiddleware

settings.configure(
    DEBUG=False, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="test", MIDDLEWARE=[]
)


async def read_told(request):
    return HttpResponse(told(request.scope))


def read_sync(request):
    return HttpResponse(request.scope["state"]["shedproxy"].route)


async def hold(request):
    await gate(request.GET["name"]).wait()
    return HttpResponse("held")


async def open_gate(request):
    gate(request.GET["name"]).set()
    return HttpResponse("open")


async def echo(request):
    return HttpResponse(str(len(request.body)))


async def boom(request):
    raise LookupError


async def read_events(request):
    return StreamingHttpResponse(events(), content_type="text/event-stream")


urlpatterns = [
    path("told", read_told),
    path("sync", read_sync),
    path("hold", hold),
    path("open", open_gate),
    path("echo", echo),
    path("boom", boom),
    path("events", read_events),
]
app = ShedMiddleware(get_asgi_application(), **shed)
