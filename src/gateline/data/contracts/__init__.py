"""Contracts: what every version of a dataset promises, drafted by one person and accepted by another."""
