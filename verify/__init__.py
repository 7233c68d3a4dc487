"""Decisions: calibration, verify (1:1), identify (1:N, open set), capture, and their measuring."""
