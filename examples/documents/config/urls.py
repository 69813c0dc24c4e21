from django.contrib.auth import views as auth
from django.urls import include, path

from documents.demo_users import DEMO_USERS, PASSWORD

login = auth.LoginView.as_view(
    redirect_authenticated_user=True,
    extra_context={"demo_users": DEMO_USERS, "demo_password": PASSWORD},
)

urlpatterns = [
    path("accounts/login/", login, name="login"),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("", include("documents.urls")),
]
