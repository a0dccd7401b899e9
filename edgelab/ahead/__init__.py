"""Figures made ahead: the programs that train and measure what takes longer than a lab may, and what they found.

Each module of figures is a program (``python -m edgelab.ahead.capstone_figures``) with a JSON file in ``made/``,
with recipe, machine and date. ``distill_*`` belongs to the lab `distillation`, ``lowrank_figures`` to `lowrank`,
``capstone*`` to `capstone`. Runs are kept and resumed by `edgelab.nets.ahead`.
"""
