"""The map.

A device's fact goes one way, and everything else is folded from the log:

    device ──▶ intake ──▶ log ──▶ learner ──▶ action ──▶ device
                           │          ▲
                           ▼          │
                        registry    advice

    intake      takes what devices send and turns it into Observations, or refuses it by name
    log         the only memory: Events, appended durably and read in order
    registry    who is there and may do what: agents, devices and keys, folded from the log
    learner     folds Events into Policies (trainer) and Policies into Actions (actor)
    action      sends one Action for each Observation, by its deadline and only when durable
    advice      what one device's Policy tells another's
    alerts      what somebody should see to: noticed, logged, told
    federation  what an agent tells its namesakes on other hubs, and takes from them
    commands    what an operator types, and what it prints
    remote      devices as Gymnasium environments, for a learner elsewhere
    settings    every setting, with its unit, default and reason
    doctor      what is wrong with a hub's folder and machine, and what mends it
    simulate    devices with a Gymnasium environment, one or hundreds, on a good line or a bad one
    demo        four simulated devices that use all of it from outside

A step's hops, by name. Over HTTP it comes from `bridge/native.py` straight to the second line:

    intake/mqtt    gate ─▶ connection ─▶ device_client ─▶ publish ─▶ Receiver
    intake/receive Receiver ─▶ action/external: External ─▶ action/deliver: Deliver
    the actor      Deliver ─▶ External ─▶ learner/processes: Pool ─▶ Pair ─▶ the actor's process
    and back       Pool ─▶ Deliver.choose ─▶ log, durable ─▶ the reply to the device

Start in `words.py` for the nouns, in `intake/receive.py` for the main path, and in `processes.py`
for what runs where. Rooms never import each other; `pyproject.toml` has the order.
"""
