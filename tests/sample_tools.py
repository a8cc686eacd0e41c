"""A user's file of tools, as tests hand it to the rules backend: every sort of parameter there is."""

TEXT = '''
from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal, Optional, TypedDict


class Customer(TypedDict):
    customer_id: str
    name: str
    city: str


@dataclass
class Address:
    """Where to deliver.

    Args:
        street: Street and number
        city: City
        floor: Floor of the building
    """

    street: str
    city: str
    floor: int = 0


@dataclass
class Item:
    product: str
    quantity: int


def find_customer(name: str) -> Customer:
    """Look up a customer by name.

    Args:
        name: Full name of the customer
    """


def list_orders(
    customer_id: str, status: Optional[Literal["open", "shipped", "returned"]] = None, limit: int = 10
) -> list[str]:
    """List the orders of a customer.

    Args:
        customer_id: Id of the customer
        status: Only orders in this state
        limit: At most so many
    """


def place_order(customer_id: str, items: list[Item], deliver_to: Address, express: bool = False) -> dict[str, str]:
    """Place an order for a customer.

    Args:
        customer_id: Id of the customer
        items: What is ordered
        deliver_to: Where it goes
        express: Deliver on the next day
    """


def get_weather(city: str, date: datetime.date, unit: Literal["celsius", "kelvin"] = "celsius") -> dict[str, float]:
    """Get the weather forecast for a city on a given day."""


def convert_currency(
    amount: float, source: Literal["EUR", "USD", "GBP"], target: Literal["EUR", "USD", "GBP"]
) -> float:
    """Converts an amount of money from one currency to another."""


def schedule_meeting(title: str, start: datetime.datetime, minutes: int, attendees: list[str], online: bool) -> str:
    """Schedule a meeting in the calendar."""


def draw_heatmap(cells: list[list[int]], value: int | str, labels: dict[str, str]) -> bool:
    """Draw a heat map."""
'''
