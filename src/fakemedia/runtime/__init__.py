"""The machine: devices, processes, threads and signals."""
