"""Compiled networks: cell, drive, coupling, thalamus and readout, and the stages that run them."""
