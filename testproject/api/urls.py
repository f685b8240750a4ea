"""The API's paths."""

from django.urls import path

from testproject.api import views

urlpatterns = [
    path("", views.health, name="health"),
    path("orders", views.orders, name="orders"),
    path("cancellation", views.cancellation, name="cancellation"),
]
