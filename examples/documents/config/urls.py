from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path

from documents.seeds import PASSWORD, USERS

login = auth.LoginView.as_view(
    redirect_authenticated_user=True,
    extra_context={"demo_users": USERS, "demo_password": PASSWORD},
)

urlpatterns = [
    path("accounts/login/", login, name="login"),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("", include("documents.urls")),
]
