from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import JsonResponse
from django.shortcuts import aget_object_or_404, get_object_or_404
from django.views.decorators.http import require_POST
from raceway import Channel, Group
from raceway.auth import make_ticket, make_token

from orders.models import Order


@require_POST
@login_required
@transaction.atomic
def place(request):
    order = Order.objects.create(customer=request.user, item=request.POST["item"])
    Group("kitchen").send({"type": "order.placed", "order": order.pk, "item": order.item})
    return JsonResponse({"order": order.pk}, status=201)


@require_POST
async def ready(request, pk):
    order = await aget_object_or_404(Order, pk=pk)
    order.state = "ready"
    await order.asave()
    await Group("kitchen").abroadcast({"ready": order.pk})
    return JsonResponse({"order": order.pk})


@require_POST
@login_required
def receipt(request, pk):
    order = get_object_or_404(Order, pk=pk, customer=request.user)
    Channel("receipts").send({"type": "receipt.print", "order": order.pk})
    return JsonResponse({}, status=202)


@login_required
def ticket(request):
    return JsonResponse({"ticket": make_ticket(request.user, session_key=request.session.session_key)})


@login_required
def token(request):
    return JsonResponse({"token": make_token(request.user, max_age_s=24 * 60 * 60)})
