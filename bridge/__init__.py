"""HTTP in and out. Stands on hub; hub never imports it."""
