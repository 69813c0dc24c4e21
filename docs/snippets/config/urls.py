from django.contrib.auth.views import LogoutView
from django.urls import path

from orders import views

urlpatterns = [
    path("orders/", views.place),
    path("orders/<int:pk>/ready/", views.ready),
    path("orders/<int:pk>/receipt/", views.receipt),
    path("ticket/", views.ticket),
    path("token/", views.token),
    path("logout/", LogoutView.as_view(next_page="/")),
]
