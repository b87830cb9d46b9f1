"""`sheepfold doctor`: what is wrong with a hub's folder and machine, and what mends it.

    finding     what was found, where, and what to do
    folder      modes, what a killed hub left, damage, the log's version, the clock
    machine     disk, ports, open files, packages, certificates
    examine     all of it, in order; mends what can be mended without losing anything

Each check looks and returns; only `mend` of a finding changes anything.
"""
