from django.contrib import admin
from django.urls import path, re_path
from django.views.generic import RedirectView, TemplateView

room = TemplateView.as_view(template_name="chat/room.html")

urlpatterns = [
    path("", RedirectView.as_view(url="/chat/lobby/")),
    re_path(r"^chat/(?P<room>[a-zA-Z0-9_-]{1,50})/$", room),
    path("admin/", admin.site.urls),
]
