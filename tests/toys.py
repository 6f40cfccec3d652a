"""Trivial checks, in a module that a new process imports quickly."""

import os
import sys
import time

from scripts.smoke.checks import Found, NotHere


def good(place):
    return Found(f"on {place.device}", True, {"process": os.getpid()})


def bad(place):
    return Found("3 of 4", False)


def raises(place):
    raise RuntimeError("an illegal memory access\nwas encountered")


def leaves(place):
    sys.exit("no")


def dies(place):
    os._exit(3)


def hangs(place):
    time.sleep(60)


def absent(place):
    raise NotHere("JAX is not installed")
