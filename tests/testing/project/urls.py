from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpResponse
from django.urls import path

from raceway import Group


def rename(request, pk):
    """What ``ATOMIC_REQUESTS`` and careful views do: write, and tell everybody, in one transaction."""
    with transaction.atomic():
        user = User.objects.get(pk=pk)
        user.first_name = request.GET["name"]
        user.save()
        Group("people").send({"type": "person.renamed", "name": user.first_name})
        if request.GET["name"] == "nobody":
            raise ValueError("nobody is no name")
    return HttpResponse("renamed")


def count(request):
    return HttpResponse(str(User.objects.count()))


urlpatterns = [path("rename/<int:pk>/", rename), path("count/", count)]
