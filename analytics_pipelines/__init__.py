"""An application's events, turned into an auditable analytics warehouse."""
