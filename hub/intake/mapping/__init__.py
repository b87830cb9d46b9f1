"""Legacy payloads: what devices say that know nothing of this hub, as observations and back.

read      a mapping as an operator wrote it
mapper    payload ─▶ document ─▶ numbers ─▶ Message, by one mapping
formats, senml, sparkplug    payload ─▶ document
paths, readings, units       document ─▶ number
command   action ─▶ the device's own words
topics    a device's own topics, and whose they are
bound     all mappings of agents, ready to serve
take      a legacy payload as a step, by any door
reply     the answer to it, over MQTT
unread    what no mapping reads, counted
trial     a mapping tried before it is live
again     what was sent, read once more by a corrected mapping
"""
