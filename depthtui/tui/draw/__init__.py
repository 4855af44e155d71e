"""What panes draw with: styles, bars, grids, scales."""
