"""An evaluation for people: tables on the terminal, plots and one HTML page."""
