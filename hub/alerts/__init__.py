"""What somebody should see to: noticed on a timer, in the log when raised and when cleared.

    rules ──causes──▶ Standing ──raised, cleared──▶ log ──durable──▶ MQTT, webhook
                         ▲                           │
                         └──────── fold at start ────┘

Rule 1: rule, agent and device are one alert, which is open once; the fold of the log says whether.
Rule 2: nothing is done for a step: rules look, every `look_s`, at what the hub has anyway.
Rule 3: an agent has as many alerts as there are rules, and `silent_named_max` devices more.
"""
