from django.urls import path

from documents import views

urlpatterns = [
    path("", views.DocumentList.as_view(), name="list"),
    path("add/", views.DocumentCreate.as_view(), name="add"),
    path("documents/<slug:slug>/", views.DocumentDetail.as_view(), name="detail"),
    path("documents/<slug:slug>/edit/", views.DocumentUpdate.as_view(), name="edit"),
    path("documents/<slug:slug>/delete/", views.DocumentDelete.as_view(), name="delete"),
]
