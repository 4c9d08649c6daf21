"""A trip: a seat, a room, a payment and a mail, by four services that know nothing of each other.

`commands` is what the services publish, `book_trip` the saga over them; each other module is one
service with its own database (its tables in sql/).
"""
