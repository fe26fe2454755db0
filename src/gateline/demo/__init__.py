"""The demo: a user of the product that lives the whole loop through its public doors, on real flights."""
