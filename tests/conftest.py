"""For all tests."""

import signal

# A shell starts a job in the background with interrupts ignored, and every child would inherit that; some tests send
# interrupts to children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
