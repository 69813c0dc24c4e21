import asyncio
import threading

from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.urls import path

left_behind: list[asyncio.Task[str]] = []


def thread_name() -> str:
    return threading.current_thread().name


async def leave_a_task(request):
    """Answer, and go on."""

    async def later() -> str:
        await asyncio.sleep(0.01)
        return await sync_to_async(thread_name)()

    left_behind.append(asyncio.create_task(later()))
    return HttpResponse(await sync_to_async(thread_name)())


urlpatterns = [
    path("hello/", lambda request: HttpResponse("hello")),
    path("thread/", lambda request: HttpResponse(thread_name())),
    path("leave-a-task/", leave_a_task),
]
