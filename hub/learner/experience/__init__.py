"""What happened, as it can be learnt from: Events, Transitions, Fragments."""
