"""Word lists that several domains share. Names of people, places and companies are everyday or invented."""

from collections.abc import Mapping

DURATIONS = (
    *((f"{number} minutes", number) for number in (10, 15, 20, 25, 30, 40, 45, 50, 75, 90)),
    ("half an hour", 30),
    ("an hour", 60),
    ("an hour and a half", 90),
    ("two hours", 120),
    ("a quarter of an hour", 15),
    ("three quarters of an hour", 45),
    ("1 hour 20 minutes", 80),
)
"""Durations as they are said, with their minutes."""

NAMED: Mapping[str, str] = {
    "city": "Lisbon|Oslo|Porto|Vienna|Nairobi|Kyoto|Toronto|Seville|Tallinn|Montreal|Cape Town|Santiago|Dublin|Krakow"
    "|Auckland|Boston|New York=New York~New York City|Hanoi|Marseille|Helsinki|Lima|Denver|Bologna|Glasgow|Casablanca"
    "|San Francisco|Osaka|Ghent|Zurich|Jakarta|Edinburgh|Athens|Quito|Gothenburg|Perth|Chicago|Valencia|Leipzig",
    "person": "Ana Ribeiro|Tomas Lind|Priya Nair|Marcus Webb|Chloe Martin|Yusuf Demir|Hannah Krause|Diego Salas"
    "|Mei Tanaka|Olga Petrova|Samuel Okoro|Laura Bianchi|Kofi Mensah|Ingrid Dahl|Rafael Costa|Nadia Haddad"
    "|Peter Novak|Elena Popescu|Jonas Weber|Amara Diallo|Grace Liu|Farid Rahimi|Sofia Moreno|Erik Johansson",
    "email": "ana@northwind.example|t.lind@mail.example|priya.nair@corp.example|support@bluefin.example"
    "|marcus@webbstudio.example|chloe.m@post.example|office@lindgren.example|hello@tinybakery.example"
    "|nadia@harbor.example|billing@orchard.example|jonas.weber@uni.example|sofia@moreno.example",
    "currency": "euros=EUR|US dollars=USD|British pounds=GBP|Japanese yen=JPY|Swiss francs=CHF|Canadian dollars=CAD"
    "|Swedish kronor=SEK|Polish zloty=PLN|Indian rupees=INR|Australian dollars=AUD|Norwegian kroner=NOK",
    "language": "French|German|Spanish|Italian|Portuguese|Japanese|Korean|Dutch|Polish|Turkish|Swedish|Arabic|Greek",
    "room": "the living room=living room~the living room|the kitchen=kitchen~the kitchen"
    "|the bedroom=bedroom~the bedroom|the study=study~the study|the hallway=hallway~the hallway"
    "|the nursery=nursery~the nursery|the bathroom=bathroom~the bathroom"
    "|the dining room=dining room~the dining room|the guest room=guest room~the guest room|the attic=attic~the attic",
    "country": "Portugal|Norway|Japan|Kenya|Canada|Chile|Ireland|Poland|New Zealand|Vietnam|France|Finland|Peru|Italy"
    "|Germany|Spain|Brazil|India|Greece|South Korea|Mexico|Austria",
    "weekday": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
    "service": "checkout-api|billing-worker|auth-gateway|search-indexer|image-resizer|mailer"
    "|inventory-sync|web-frontend",
    "table": "customers|orders|invoices|shipments|sessions|products|payments|audit_log|subscriptions",
    "file": "beach.jpg|portrait_04.png|IMG_2207.jpg|logo_draft.png|wedding_113.jpg|harbor_night.jpg|cat.png"
    "|team_photo.jpg|menu_scan.png|sunset-02.jpg",
}
"""Options by the name of their kind, in the grammar of `pick` (`values.py`)."""
