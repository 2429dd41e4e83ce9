"""Python runs this at its start when this folder is on PYTHONPATH: another machine.

``SOCKET_LOG`` takes the network away (no_network.py), ``COURSE_MACHINE`` changes what
PyTorch computes (machine.py). Every process that is started from such a one, a kernel
too, inherits both.
"""

import os

if "SOCKET_LOG" in os.environ:
    import no_network  # noqa: F401
if "COURSE_MACHINE" in os.environ:
    import machine

    machine.install(os.environ["COURSE_MACHINE"])
