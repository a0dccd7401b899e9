"""The table of devices: what it covers, that every figure has a source, and what a wrong table is told."""

import re
from dataclasses import replace

import pytest

from edgelab.errors import BadFile, BadInput
from edgelab.mcu.devices import Device, all_devices, find_device, read_devices

GOOD = """
[[device]]
name = "a-1"
title = "A"
vendor = "V"
kind = "microcontroller"
core = "cortex-m4"
clock_mhz = 64
flash_bytes = 1024
sram_bytes = 512
sram_total_bytes = 1024
source = "a sheet"
"""
FAMILIES = [
    "stm32f4",
    "stm32f7",
    "stm32h7",
    "stm32l4",
    "stm32u5",
    "nrf52",
    "nrf53",
    "nrf54",
    "esp32",
    "esp32-s3",
    "esp32-c3",
    "rp2040",
    "rp2350",
    "arduino-nano-33-ble",
    "apollo4",
    "max78000",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "jetson-orin-nano",
    "coral",
]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_there(family):
    assert any(device.name.startswith(family) for device in all_devices())


def test_the_table_is_wide_and_sound():
    devices = all_devices()
    assert len(devices) >= 28
    assert sum(device.kind == "phone" for device in devices) >= 2
    assert sum(device.ethos != "" and device.core == "cortex-m55" for device in devices) >= 3
    for device in devices:
        assert len(device.source) > 8
        assert device.active_mw is None or re.search(r"\d", device.active_note)


# The storage of these is a card that their owner chooses; 16 GB is taken.
CARDS = {"raspberry-pi-zero-2w", "raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano"}
NO_POWER = {"m55m1", "corstone-300", "iphone-15"}


def test_every_memory_was_read_in_a_named_place():
    for device in all_devices():
        unread = set(device.unread) & {
            "core",
            "clock_mhz",
            "flash_bytes",
            "sram_bytes",
            "sram_total_bytes",
            "accelerator",
        }
        assert unread == ({"flash_bytes"} if device.name in CARDS else set()), device.name
        assert all(len(place) > 12 for place in device.read.values()), device.name


def test_power_was_read_in_a_named_place():
    devices = list(all_devices())
    assert {device.name for device in devices if device.active_mw is None} == NO_POWER
    assert sum("active_mw" in device.read for device in devices) >= 35
    assert sum("sleep_mw" in device.read for device in devices) >= 25


@pytest.mark.parametrize("device", list(all_devices()), ids=lambda device: device.name)
def test_power_is_current_times_voltage_of_its_note(device):
    for state in ("active", "sleep"):
        power, note = getattr(device, f"{state}_mw"), getattr(device, f"{state}_note")
        current = re.search(r"([\d.]+) (mA|uA|nA|A)(/MHz)?\b", note)
        volts = re.search(r"([\d.]+) V\b", note)
        if power is None or current is None:
            continue
        milliamperes = float(current[1]) * {"A": 1e3, "mA": 1, "uA": 1e-3, "nA": 1e-6}[current[2]]
        milliamperes *= device.clock_mhz if current[3] else 1
        assert power == pytest.approx(milliamperes * float(volts[1]), rel=0.02), (state, note)


def test_a_chip_with_both_powers_names_their_voltage():
    """The laboratory on firmware turns power into current."""
    both = [d for d in all_devices() if d.kind == "microcontroller" and d.active_mw and d.sleep_mw]
    assert len(both) >= 20
    without = {d.name for d in both if not all(re.search(r"[\d.]+ V\b", n) for n in (d.active_note, d.sleep_note))}
    assert without == {"himax-we2"}  # a module with its camera; no Cortex-M that the laboratory can emulate


def test_power_is_quoted_with_its_conditions():
    power = find_device("nrf52840").active_power
    assert power.how == "quoted"
    assert power.value == pytest.approx(3.3 * 3)
    assert "3 V" in power.by
    bare = replace(find_device("nrf52840"), active_mw=None, active_note="", read={})
    assert bare.active_power is None


def test_a_device_is_found_in_any_case():
    assert find_device(" NRF52840 ").title == "nRF52840 (DK)"


@pytest.mark.parametrize(("name", "near"), [("nrf5284", "nrf52840"), ("esp32s3", "esp32-s3"), ("pico", "known are")])
def test_an_unknown_device_names_near_ones(name, near):
    with pytest.raises(BadInput, match=near) as caught:
        find_device(name)
    assert str(caught.value).count("\n") == 0
    assert str(caught.value).endswith((".", "?"))


def test_a_good_table_is_read(tmp_path):
    (tmp_path / "d.toml").write_text(GOOD)
    (device,) = read_devices(tmp_path / "d.toml")
    assert (device.clock_mhz, device.active_mw, device.cores) == (64, None, 1)
    assert device.unread == device.given == ("clock_mhz", "flash_bytes", "sram_bytes", "sram_total_bytes", "core")


def test_what_was_read_is_known_by_figure(tmp_path):
    power = (
        'active_mw = 3\nactive_note = "1 mA at 3 V"\n[device.read]\nflash_bytes = "sheet 7, table 2"\ncore = "page 1"\n'
    )
    (tmp_path / "d.toml").write_text(GOOD + power)
    devices = read_devices(tmp_path / "d.toml")
    (device,) = devices
    assert device.unread == ("clock_mhz", "sram_bytes", "sram_total_bytes", "active_mw")
    assert "a sheet, not read again: 1 mA" in device.active_power.by
    assert "clock, SRAM, all SRAM, active power" in str(devices)
    assert "2 of 6 figures were read" in str(devices)
    there = replace(device, read={**device.read, "active_mw": "sheet 7, table 9"})
    assert there.active_power.by == "sheet 7, table 9: 1 mA at 3 V"
    assert there.to_dict()["read"]["active_mw"] == "sheet 7, table 9"
    assert len({device, there}) == 2


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("clock_mhz = 64\n", "", "lacks the key 'clock_mhz'"),
        ("clock_mhz = 64", 'clock_mhz = "64"', "clock_mhz '64'"),
        ("clock_mhz = 64", "clock_mhz = true", "clock_mhz True"),
        ("clock_mhz = 64", "clock_mhz = 64\nspeed = 3", "unknown key 'speed'"),
        ("flash_bytes = 1024", "flash_bytes = 0", "flash_bytes 0"),
        ("sram_bytes = 512", "sram_bytes = 2048", "larger than its whole"),
        ('source = "a sheet"', 'source = ""', "source"),
        ('source = "a sheet"', 'source = "s"\nactive_mw = 3', "active_note together"),
        ('source = "a sheet"', 'source = "s"\nactive_mw = nan\nactive_note = "n"', "no positive number"),
        ('source = "a sheet"', 'source = "s"\nurl = "http://x"', "https"),
        (
            'source = "a sheet"',
            'source = "s"\n[device.read]\ncolour = "p. 1"',
            "'colour' was read, which is none of clock_mhz",
        ),
        (
            'source = "a sheet"',
            'source = "s"\n[device.read]\nactive_mw = "p. 1"',
            "active_mw was read and has no active_mw",
        ),
        ('source = "a sheet"', 'source = "s"\n[device.read]\naccelerator = "p. 1"', "and has no accelerator"),
        ('source = "a sheet"', 'source = "s"\n[device.read]\ncore = " "', "does not say where core was read"),
        ('source = "a sheet"', 'source = "s"\n[device.read]\ncore = 7', "does not say where core was read"),
        ('source = "a sheet"', 'source = "s"\nread = "all"', "read that is no table"),
        ('source = "a sheet"', 'source = "s"\nactive_part = "GPU"', "active_part and no active_mw"),
        ('name = "a-1"', 'name = "A 1"', "characters"),
        ('kind = "microcontroller"', 'kind = "toaster"', "toaster"),
        ("[[device]]", "[device]", "no table of devices"),
        ("[[device]]", "[[device]", "not a readable table"),
    ],
)
def test_a_wrong_table_is_refused_in_one_sentence(tmp_path, old, new, says):
    assert old in GOOD
    (tmp_path / "d.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(BadFile, match=re.escape(says)) as caught:
        read_devices(tmp_path / "d.toml")
    assert "d.toml" in str(caught.value)


def test_two_of_a_name_are_refused(tmp_path):
    (tmp_path / "d.toml").write_text(GOOD + GOOD)
    with pytest.raises(BadFile, match="another device 'a-1'"):
        read_devices(tmp_path / "d.toml")


def test_a_missing_table_is_a_sentence(tmp_path):
    with pytest.raises(BadFile, match="not a readable"):
        read_devices(tmp_path / "none.toml")


def test_a_device_made_by_hand_is_checked():
    entry = find_device("rp2040").to_dict()
    assert Device(**entry) == find_device("rp2040")
    with pytest.raises(BadInput, match="sram_bytes -1"):
        Device(**{**entry, "sram_bytes": -1})


def test_the_table_shows_every_device():
    text = str(all_devices())
    assert all(device.name in text for device in all_devices())
    assert len(all_devices().to_dict()["devices"]) == len(all_devices())
    assert all_devices()._repr_markdown_().count("\n| ") >= len(all_devices())
