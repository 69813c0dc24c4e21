from django.http import HttpResponse
from django.urls import path


def remember(request, name):
    request.session["name"] = name
    return HttpResponse("remembered")


urlpatterns = [
    path("hello/", lambda request: HttpResponse("hello")),
    path("remember/<str:name>/", remember),
]
