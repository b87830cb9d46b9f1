"""What Home Assistant is told of the hub's devices, in its own words (MQTT discovery).

    describe    what a device is there: sensors, a switch, buttons, a setpoint; pure
    announce    tells it whenever that changes, and takes back what is no more

Topics are built in `hub.topics`; who may hear them is in `hub.intake.mqtt.people`. What a person
does there comes as the commands of every other client (`hub.intake.commands`).
"""
