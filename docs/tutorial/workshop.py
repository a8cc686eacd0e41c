"""The back office of a small bicycle workshop: ten functions that a model learns to call. What they are told is kept in
memory."""

from __future__ import annotations

from typing import Literal, TypedDict

Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
Bike = Literal["city bike", "road bike", "cargo bike", "e-bike", "kids bike"]
Part = Literal["chain", "brake pads", "inner tube", "saddle", "bell", "front light"]
Service = Literal["tune-up", "brake service", "wheel truing", "battery check"]


class Repair(TypedDict):
    """A repair as it stands."""

    ticket_id: str
    customer: str
    bike: str
    weekday: str
    note: str


_PRICES = {"tune-up": 59.0, "brake service": 35.0, "wheel truing": 28.0, "battery check": 42.0}
_stock = {"chain": 6, "brake pads": 14, "inner tube": 30, "saddle": 2, "bell": 9, "front light": 0}
_repairs: dict[str, Repair] = {}
_rented: dict[str, str] = {}


def book_repair(customer: str, bike: Bike, weekday: Weekday) -> Repair:
    """Book a repair.

    Args:
        customer: Name of the customer
        bike: Kind of bike
        weekday: Day on which it comes in
    """
    repair = Repair(ticket_id=f"T-{10417 + len(_repairs)}", customer=customer, bike=bike, weekday=weekday, note="")
    _repairs[repair["ticket_id"]] = repair
    return repair


def cancel_repair(ticket_id: str) -> bool:
    """Cancel a repair.

    Args:
        ticket_id: Ticket of the repair
    """
    return _repairs.pop(ticket_id, None) is not None


def find_repair(ticket_id: str) -> Repair | None:
    """Look up a repair.

    Args:
        ticket_id: Ticket of the repair
    """
    return _repairs.get(ticket_id)


def add_note(ticket_id: str, note: str) -> bool:
    """Add a note for the mechanics.

    Args:
        ticket_id: Ticket of the repair
        note: What they should know
    """
    if ticket_id in _repairs:
        _repairs[ticket_id]["note"] = note
    return ticket_id in _repairs


def list_repairs(weekday: Weekday) -> list[Repair]:
    """List the repairs of a day.

    Args:
        weekday: Day on which they come in
    """
    return [repair for repair in _repairs.values() if repair["weekday"] == weekday]


def estimate_price(service: Service, express: bool = False) -> float:
    """Estimate the price of a service in euros.

    Args:
        service: What is to be done
        express: Done on the same day
    """
    return _PRICES[service] * (1.5 if express else 1.0)


def check_stock(part: Part) -> int:
    """Check the stock of a spare part.

    Args:
        part: Spare part
    """
    return _stock[part]


def order_parts(part: Part, quantity: int) -> int:
    """Order spare parts.

    Args:
        part: Spare part
        quantity: Number of pieces
    """
    _stock[part] += quantity
    return _stock[part]


def rent_bike(customer: str, bike: Bike, days: int) -> str:
    """Rent a bike.

    Args:
        customer: Name of the customer
        bike: Kind of bike
        days: Number of days
    """
    _rented[customer] = f"{bike}, {days} days"
    return _rented[customer]


def send_reminder(customer: str, channel: Literal["email", "text message", "letter"]) -> bool:
    """Send a reminder.

    Args:
        customer: Name of the customer
        channel: Way in which it goes out
    """
    print(f"[{channel}] Dear {customer}, your bike is ready.")
    return True
