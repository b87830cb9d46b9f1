"""The embedded gate, amqtt behind it for people, and the client of an external broker.

A device's packet: `gate` gives its socket a `connection`, where bytes become packets (`wire`,
`wire5`; `dialect` has all that differs between the versions), `publish` takes a PUBLISH to the
room above and brings the answer back, `outbox` keeps what waits for the device. What people send
and read goes by way of `person_client` to `broker`.
"""
