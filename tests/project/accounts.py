"""Views that log in and out, as a project's own do."""

from django.contrib.auth import authenticate, login, logout
from django.http import HttpResponse, JsonResponse
from django.urls import path

from raceway.auth import make_ticket, make_token


def log_in(request):
    user = authenticate(request, username=request.GET["name"], password="planetexpress")
    login(request, user)
    return HttpResponse("in")


def log_out(request):
    logout(request)
    return HttpResponse("out")


def proofs(request):
    ticket = make_ticket(request.user, session_key=request.session.session_key)
    return JsonResponse({"ticket": ticket, "token": make_token(request.user)})


urlpatterns = [path("in/", log_in), path("out/", log_out), path("proofs/", proofs)]
