"""Drills: what kills, full disks, other owners, flipped bits and damaged inputs do to runs, counted."""
