"""Microcontrollers without a board: what a model needs of one, and its code on an emulated core."""
