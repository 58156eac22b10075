"""Optimizers of our own, where torch has none and the packages depart from the papers.

They import torch, so that only ``build`` may import them.
"""
