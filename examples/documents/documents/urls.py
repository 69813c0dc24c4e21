from django.urls import path

from documents.views import DashboardView

urlpatterns = [
    path("", DashboardView.as_view(), name="dashboard"),
]
