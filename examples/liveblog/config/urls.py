from django.urls import path

from blog.views import Liveblog

urlpatterns = [path("", Liveblog.as_view())]
