"""Report pages: one HTML file each, self-contained, that works without a network.

What lives here: markup, the page around any report, charts, their styles and scripts, and uPlot
with its licence. What may not: what a particular report says.
"""
