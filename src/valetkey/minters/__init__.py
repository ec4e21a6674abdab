"""Minters: scope in, credential out; handle in, gone."""
