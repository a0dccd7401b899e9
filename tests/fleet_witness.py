"""The fleet of `edgelab.ota.fleet` as an event simulation in SimPy: one process a device, scalars, its own randomness.

A witness is written from the description, and shares nothing with NumPy's but the drawn devices. It keeps exact
latencies and no histogram.
"""

import math
import random

import simpy

TIME_ZONES = 6


def device(env, kind, world, own, rng, seconds, latencies, tally):
    """One device: own = (ambient, log of its slowness, load, zone)."""
    ambient, log_slow, usual, zone = own
    celsius, hot, online, charge = ambient, False, True, 1.0
    change = 3600 * rng.expovariate(world.drop_h)
    while True:
        sine = math.sin(2 * math.pi * (env.now / 3600 + zone - 9) / 24)
        alive = charge > 0
        load = min(1.0, usual * (1 + world.day * sine)) if alive else 0.0
        if hot:
            load /= kind.throttled
        watt = kind.idle_w + (kind.busy_w - kind.idle_w) * load
        final = ambient + world.day_c * sine + watt * kind.kelvin_per_watt
        celsius = final + (celsius - final) * math.exp(-seconds / kind.kelvin_per_watt / kind.joule_per_kelvin)
        hot = celsius > kind.resume_c if hot else celsius >= kind.throttle_c
        if alive:
            factor = math.exp(log_slow + rng.gauss(0, world.noise))
            latencies.append(kind.latency_ms * factor * (kind.throttled if hot else 1))
            tally["crashes"] += rng.random() < world.crash_h * seconds / 3600 * (1 + world.day * sine)
        while env.now >= change:  # the link in continuous time, looked at by the tick
            online = not online
            change += 3600 * rng.expovariate(world.drop_h if online else world.return_h)
        if kind.battery_wh:
            charge += (seconds / 3600 / 3 if sine < -0.7 else 0) - watt * seconds / 3600 / kind.battery_wh
            charge = min(1.0, max(0.0, charge))
            if charge == 0:
                online, change = False, env.now + 3600 * rng.expovariate(world.return_h)
        tally["ticks"] += 1
        tally["online"] += online
        tally["throttled"] += hot
        yield env.timeout(seconds)


def live(fleet, world, hours, seconds, seed=0):
    """Latencies in ms of all devices, and counts of ticks, of ticks online and throttled, and of crashes."""
    env, rng, latencies = simpy.Environment(), random.Random(seed), []
    tally = dict.fromkeys(("ticks", "online", "throttled", "crashes"), 0)
    number = 0
    for kind, count in zip(fleet.kinds, fleet.counts, strict=True):
        for _ in range(count):
            own = tuple(float(part[number]) for part in (fleet.ambient_c, fleet.log_slow, fleet.load, fleet.zone_h))
            env.process(device(env, kind, world, own, rng, seconds, latencies, tally))
            number += 1
    env.run(until=hours * 3600)
    return latencies, tally
