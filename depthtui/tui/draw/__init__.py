"""The tools of panes: styles, bars, grids, scales."""
