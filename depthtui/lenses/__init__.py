"""Lenses that are fitted: maps from the residual at each depth to the model's last one."""
