"""Boards, through the stock ssh client."""
