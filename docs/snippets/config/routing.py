from django.urls import path
from raceway.auth import LoginRequiredMiddleware, TokenAuthMiddleware

from orders import functions
from orders.consumers import Account, Basket, Careful, Game, Kitchen, Price, Whoami
from orders.shift import Shift
from orders.tokens import verify
from orders.work import Printer, remind

websocket_urlpatterns = [
    path("kitchen/", Kitchen.as_asgi()),
    path("account/", LoginRequiredMiddleware(Account.as_asgi())),
    path("whoami/", Whoami.as_asgi()),
    path("app/account/", TokenAuthMiddleware(LoginRequiredMiddleware(Account.as_asgi()))),
    path("partner/", TokenAuthMiddleware(Whoami.as_asgi(), verify=verify)),
    path("basket/", Basket.as_asgi()),
    path("prices/", Price.as_asgi()),
    path("games/<slug:name>/", Game.as_asgi()),
    path("careful/", Careful.as_asgi()),
    path("shift/", LoginRequiredMiddleware(Shift.as_asgi())),
    path("echo/", functions.echo),
    path("raw/", functions.raw),
]

channel_routes = {
    "receipts": Printer.as_asgi(),
    "reminders": remind,
}
