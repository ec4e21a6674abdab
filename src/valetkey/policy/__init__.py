"""Catalogue and policy: files in, decisions out. Cedar stands behind the PolicyEngine port."""
